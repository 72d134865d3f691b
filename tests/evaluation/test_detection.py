"""Detection by disagreement: closed forms, other people's statistics, and numbers made again from what is stored."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.stats import bootstrap, norm
from sklearn.metrics import roc_auc_score
from torch import nn

from qarmor.attacks import FGSM, PGD
from qarmor.attacks.joint import Joint, Pair
from qarmor.evaluation import evaluate, wilson
from qarmor.evaluation.claims import Claim, Claims
from qarmor.evaluation.criteria import criterion
from qarmor.evaluation.detection import (
    EPS_EDGES,
    EPS_RANGE,
    PAPER,
    Detector,
    Observations,
    Origin,
    assign,
    auc,
    beside,
    beside_paper,
    calibrate,
    evaluate_detection,
    joint_mixture,
    measurements,
    mixture,
    observe,
    observe_attacked,
    roc,
    split,
    total_variation,
)
from qarmor.types import Images, Rows


def tables(*weights):
    """Networks of two pixels and three classes: fixed linear maps."""
    made = []
    for weight in weights:
        layer = nn.Linear(2, 3, bias=False)
        layer.weight.data = torch.as_tensor(weight).float()
        made.append(layer)
    return made


def randomly(seed, n=400, shift=2):
    """A random linear network and one much like it on images of 16 pixels, and labels that are mostly the first one's."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 4, 4, generator=g)
    networks = {}
    weight = 8 * torch.randn(3, 16, generator=g)
    weight -= weight.mean(1, keepdim=True)
    for label, change in (("a", 0), ("b", shift)):
        layer = nn.Linear(16, 3, bias=False)
        layer.weight.data = weight + change * torch.randn(3, 16, generator=g)
        networks[label] = nn.Sequential(nn.Flatten(), layer)
    y = networks["a"](x).argmax(1)
    y = torch.where(torch.rand(n, generator=g) < 0.1, torch.randint(3, (n,), generator=g), y)
    return networks, Images(x, y, torch.arange(1000, 1000 + n), "noise/test")


ATTACKS = {"pgd": PGD(steps=5, loss="margin"), "fgsm": FGSM()}


@pytest.fixture
def measured(seed):
    networks, images = randomly(seed)
    clean, target, held_out = split(images, 120, 100, seed)
    attacked = mixture({"a": networks["a"]}, target, ATTACKS, seed)
    return networks, observe(networks, clean), observe_attacked(networks, attacked), observe(networks, held_out), attacked


# ---------------------------------------------------------------------------------------------------------------------------------- the detector


def test_score_and_alarm_by_hand():
    first, second = tables([[math.log(3), 0], [0, math.log(3)], [0, 0]], [[0, 0], [0, 0], [math.log(2), 0]])
    detector = Detector(first, second)
    said = detector.judge(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # (3, 1, 1) / 5 against (1, 1, 2) / 4; and (1, 3, 1) / 5 against thirds
    torch.testing.assert_close(said.score, torch.tensor([0.35, 0.6 - 1 / 3], dtype=torch.float64), rtol=0, atol=1e-7)
    assert said.first.tolist() == [0, 1]
    assert said.second.tolist() == [2, 0]
    assert said.alarm.tolist() == [True, True]
    assert Detector(first, second, 0.3).alarm(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [True, False]


def test_total_variation_is_a_distance(seed):
    p, q, r = torch.rand(3, 50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).pow(4).softmax(2)
    assert (total_variation(p, p) == 0).all()
    torch.testing.assert_close(total_variation(p, q), total_variation(q, p))
    assert (total_variation(p, r) <= total_variation(p, q) + total_variation(q, r) + 1e-12).all()
    sets = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)), dtype=torch.float64)
    torch.testing.assert_close(total_variation(p, q), ((p - q) @ sets.T).amax(1))  # the largest difference in the probability of any set of classes
    assert total_variation(torch.eye(3)[:1], torch.eye(3)[1:2]).item() == 1


def test_one_by_one_is_as_a_batch(seed):
    networks, images = randomly(seed, 40)
    detector = Detector(*networks.values(), batch_size=7)
    together = detector.judge(images.x)
    seen = observe(networks, images)
    top = torch.stack([seen.first.topk(2).values, seen.second.topk(2).values])
    sure = (top[..., 0] - top[..., 1]).amin(0) > 1e-4  # the sums of another batch size round in another way
    assert int(sure.sum()) > 30
    for number, x in enumerate(images.x):
        alone = detector.judge(x)
        assert alone.alarm.shape == (1,)
        if sure[number]:
            assert alone.alarm == together.alarm[number]
            assert alone.first == together.first[number]
        torch.testing.assert_close(alone.score[0], together.score[number], rtol=0, atol=1e-5)
    torch.testing.assert_close(detector.score(images.x), seen.score, rtol=0, atol=1e-5)
    assert torch.equal(detector.alarm(images.x)[sure], seen.disagree[sure])


def test_a_detector_keeps_the_networks_that_it_was_given(seed):
    networks, images = randomly(seed, 10)
    detector = Detector(*networks.values())
    before = detector.score(images.x)
    networks["a"][1].weight.data.mul_(-1)
    assert torch.equal(detector.score(images.x), before)
    assert networks["a"][1].weight.requires_grad


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.37, 0.5])
@pytest.mark.parametrize("n", [19, 20, 99, 400])
def test_a_threshold_is_exceeded_by_as_many_as_may(n, rate, seed):
    scores = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    above = int((scores > calibrate(scores, rate)).sum())
    assert (above + 1) / (n + 1) <= rate + 1e-9  # the one to come, wherever it ranks
    assert (above + 2) / (n + 1) > rate
    assert calibrate(torch.full((n,), 0.25), rate) == 0.25  # ties raise no alarm


def test_the_rate_of_a_threshold_holds_for_images_to_come(seed):
    scores = torch.rand(4000, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** 3
    above = torch.stack([(part[39] > calibrate(part[:39], 0.1)).double() for part in scores])
    assert abs(float(above.mean()) - 0.1) < 5 * math.sqrt(0.09 / 4000)


# ----------------------------------------------------------------------------------------------------------------------------------- the mixture


def test_split_shares_nothing_and_is_drawn_by_the_seed(seed):
    _, images = randomly(seed, 50)
    parts = split(images, 12, 26, seed)
    assert [len(part) for part in parts] == [12, 12, 26]
    assert sorted(torch.cat([part.index for part in parts]).tolist()) == images.index.tolist()
    for part in parts:
        assert part.index.tolist() == sorted(part.index.tolist())
    assert torch.equal(split(images, 12, 26, seed)[1].index, parts[1].index)
    assert not torch.equal(split(images, 12, 26, seed + 1)[1].index, parts[1].index)


def test_every_image_gets_one_attack_and_one_strength(seed):
    choice, eps = assign(3001, ["a", "b", "c"], (0.02, 0.3), seed)
    assert sorted(choice.bincount().tolist()) == [1000, 1000, 1001]
    assert ((eps >= 0.0199999) & (eps <= 0.3000001)).all()
    # uniform, and independent of the attack: five standard errors
    assert abs(float(eps.mean()) - 0.16) < 5 * 0.28 / math.sqrt(12 * 3001)
    assert abs(float(eps.std()) - 0.28 / math.sqrt(12)) < 0.006
    for number in range(3):
        assert abs(float(eps[choice == number].mean()) - 0.16) < 5 * 0.28 / math.sqrt(12 * 1000)
    again = assign(3001, ["a", "b", "c"], (0.02, 0.3), seed)
    assert torch.equal(again[0], choice)
    assert torch.equal(again[1], eps)


def test_a_mixture_is_what_each_attack_makes_of_its_images(seed, scripted):
    networks, images = randomly(seed, 30)
    seen = {}

    def note(name):
        def perturb(model, x, y, eps, seed):
            seen[name] = (x, y, eps, seed)
            return (x + eps.view(-1, 1, 1, 1)).clamp(0, 1)

        return scripted(perturb, "same-name", note=name)

    made = mixture(networks["a"], images, {"one": note("one"), "two": note("two")}, seed, eps_range=(0.1, 0.2), name="a")
    choice, eps = assign(30, ["one", "two"], (0.1, 0.2), seed)
    for number, name in enumerate(("one", "two")):
        mine = choice == number
        part = made[name]
        assert torch.equal(part.images.index, images.index[mine])
        assert torch.equal(part.eps, eps[mine])
        torch.testing.assert_close(part.x, (images.x[mine] + eps[mine].view(-1, 1, 1, 1)).clamp(0, 1))
        assert torch.equal(seen[name][1], images.y[mine])
        assert seen[name][3] == seed
        assert (part.source, part.parameters) == ("a", {"note": name})
        assert torch.equal(part.source_clean_predictions, networks["a"](images.x[mine]).argmax(1))
    alone = mixture(networks["a"], images[:1], {"one": note("one"), "two": note("two")}, seed)
    assert len(alone) == 1  # the other got none


# ------------------------------------------------------------------------------------------------------------------------ areas under ROC curves


@pytest.mark.parametrize(("m", "n"), [(30, 50), (200, 7), (1, 3)])
def test_area_is_that_of_scikit_learn(m, n, seed):
    g = torch.Generator().manual_seed(seed)
    for steps in (4, 1000):  # many ties, then few
        clean, attacked = torch.randint(steps, (m,), generator=g) / steps, (torch.randint(steps, (n,), generator=g) / steps).sqrt()
        labels, scores = [0] * m + [1] * n, torch.cat([clean, attacked]).numpy()
        found = auc(clean, attacked)
        assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert found.value == found.wins / found.pairs
        assert found.pairs == 2 * m * n
        assert 0 <= found.low <= found.value <= found.high <= 1
        curve = roc(clean, attacked)
        for threshold, false, true in zip(curve.thresholds, curve.false_positive_rate, curve.true_positive_rate, strict=True):
            assert false == pytest.approx(float((clean.double() > threshold).double().mean()))
            assert true == pytest.approx(float((attacked.double() > threshold).double().mean()))
        assert np.trapezoid(curve.true_positive_rate, curve.false_positive_rate) == pytest.approx(found.value)


def test_interval_of_an_area_covers_it(seed):
    """Normal scores two units of 1/2 apart: 400 draws of 60 and 40."""
    rng = np.random.default_rng(seed)
    truth = norm.cdf(1 / math.sqrt(2))
    found = [auc(torch.from_numpy(rng.normal(size=60)), torch.from_numpy(rng.normal(1, size=40))) for _ in range(400)]
    covered = sum(one.low <= truth <= one.high for one in found)
    assert abs(covered / 400 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 400)


def test_interval_of_an_area_knows_that_images_are_the_same(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=150)
    clean, attacked = image + 0.5 * rng.normal(size=150), image + 0.5 * rng.normal(size=150) + 0.7
    index = torch.arange(150)

    def area(which):
        return roc_auc_score([0] * 150 + [1] * 150, np.concatenate([clean[which], attacked[which]]))

    drawn = bootstrap((np.arange(150),), area, vectorized=False, n_resamples=600, method="percentile", rng=rng)
    found = auc(torch.from_numpy(clean), torch.from_numpy(attacked), index, index)
    apart = auc(torch.from_numpy(clean), torch.from_numpy(attacked))
    width = drawn.confidence_interval.high - drawn.confidence_interval.low
    assert found.high - found.low == pytest.approx(width, rel=0.3)
    assert found.high - found.low < 0.75 * (apart.high - apart.low)


def test_areas_without_spread():
    for clean, attacked, value in (
        (torch.zeros(50), torch.ones(50), 1.0),
        (torch.ones(50), torch.zeros(50), 0.0),
        (torch.ones(9), torch.ones(9), 0.5),
    ):
        found = auc(clean, attacked)
        assert found.value == value
        assert found.high - found.low > 0.01  # that many images are no certainty
        assert found.low <= value <= found.high
    assert auc(torch.zeros(50), torch.ones(50)).low == pytest.approx(1 - auc(torch.ones(50), torch.zeros(50)).high)
    # one pair, 1: (1 - t)^2 = z^2 t (1 - t), so t = 1 / (1 + z^2)
    assert auc(torch.zeros(1), torch.ones(1)).low == pytest.approx(1 / (1 + norm.ppf(0.975) ** 2), abs=1e-6)
    empty = auc(torch.zeros(3), torch.zeros(0))
    assert (math.isnan(empty.value), empty.low, empty.high, empty.pairs) == (True, 0, 1, 0)


# ------------------------------------------------------------------------------------------------------------------------------------- the rates


def by(rows, kind, metric, **wanted):
    return Rows(row for row in rows.where(metric=metric, **wanted) if row.parameters["by"] == kind)


def test_rows_by_hand():
    """Six attacked images of two attacks and four clean ones, with probabilities written down."""
    sure = {0: [0.8, 0.1, 0.1], 1: [0.1, 0.8, 0.1], 2: [0.1, 0.1, 0.8]}

    def seen(first, second, y, **more):
        n = len(y)
        defaults = {"eps": torch.zeros(n), "fooled": torch.zeros(n, dtype=torch.bool), "both_right": torch.ones(n, dtype=torch.bool)}
        probabilities = [torch.tensor([sure[k] for k in each], dtype=torch.float64) for each in (first, second)]
        shared = {"y": torch.tensor(y), "index": torch.arange(n), "origin": torch.full((n,), -1)}
        return Observations("d/test", ("a", "b"), *probabilities, **{**shared, **defaults, **more})

    clean = seen([0, 1, 2, 0], [0, 1, 1, 0], [0, 1, 2, 1])
    attacked = seen(
        [0, 1, 1, 2, 2, 1],
        [0, 1, 0, 2, 1, 1],
        [0, 0, 0, 2, 1, 0],
        eps=torch.tensor([0.02, 0.05, 0.1, 0.2, 0.25, 0.3]),
        fooled=torch.tensor([0, 1, 1, 0, 1, 1], dtype=torch.bool),
        both_right=torch.tensor([1, 1, 1, 1, 1, 0], dtype=torch.bool),
        origin=torch.tensor([0, 0, 0, 1, 1, 1]),
        origins=(Origin("a", "pgd", {"steps": 2}, 5, ("zero-gradient",)), Origin("a", "fgsm", {}, 5)),
    )
    rows = evaluate_detection(clean, [attacked])

    def counts(metric, kind="all", **wanted):
        return [(row.successes, row.n) for row in by(rows, kind, metric, **wanted)]

    assert counts("false_positive_rate") == [(1, 4)]
    assert counts("true_positive_rate") == [(2, 6)]
    assert counts("true_positive_rate", "attack") == [(1, 3), (1, 3)]
    assert counts("true_positive_rate", "eps") == [(0, 2), (1, 1), (0, 1), (1, 2)]
    assert counts("true_positive_rate_fooled") == [(2, 4)]
    assert counts("true_positive_rate_fooled", "eps") == [(0, 1), (1, 1), (0, 0), (1, 2)]
    assert counts("source_fooled_rate") == [(4, 6)]
    assert counts("undetected_error_rate") == [(1, 4), (2, 6)]
    assert counts("evasion_rate") == [(1, 5)]
    # scores are 0 or .7: of 4 x 6 pairs 3 x 2 are won, 3 x 4 and 1 x 2 tied, so 2 x 6 + 14 of 48
    assert counts("auc") == [(26, 48)]
    assert counts("auc_fooled") == [(3 * 2 * 2 + 3 * 2 + 2, 32)]
    first = by(rows, "all", "true_positive_rate")[0]
    assert (first.dataset, first.source, first.target, first.attack, first.eps, first.seed) == ("d/test", "a", "a+b", "mixed", None, 5)
    assert first.parameters["attacks"] == {"pgd": {"steps": 2}, "fgsm": {}}
    assert (first.parameters["eps_low"], first.parameters["eps_high"]) == (pytest.approx(0.02), pytest.approx(0.3))
    assert first.flags == ("zero-gradient",)
    assert [row.attack for row in by(rows, "attack", "true_positive_rate")] == ["pgd", "fgsm"]
    assert by(rows, "attack", "true_positive_rate")[1].flags == ()
    assert (first.low, first.high) == wilson(2, 6)
    assert not [row for row in rows if row.metric.startswith("score_")]


def test_breakdowns_add_up_and_rows_can_be_written(measured):
    _, clean, attacked, held_out, _ = measured
    rows = evaluate_detection(clean, [attacked], held_out)
    for metric in {row.metric for row in rows} - {"auc", "auc_fooled", "false_positive_rate", "score_false_positive_rate"}:
        (total,) = by(rows, "all", metric, source="a")
        for kind in ("attack", "eps"):
            parts = by(rows, kind, metric, source="a")
            assert (sum(r.successes for r in parts), sum(r.n for r in parts)) == (total.successes, total.n), (metric, kind)
    bins = [(row.parameters["eps_low"], row.parameters["eps_high"]) for row in by(rows, "eps", "true_positive_rate")]
    assert bins == list(itertools.pairwise(EPS_EDGES))
    assert Rows.from_json(rows.to_json()).to_csv() == rows.to_csv()


def test_fooled_images_are_those_whose_attack_worked(measured):
    networks, _, attacked, _, made = measured
    for number, part in enumerate(made.values()):
        mine = attacked.origin == number
        with torch.no_grad():
            before, after = networks["a"](part.images.x).argmax(1), networks["a"](part.x).argmax(1)
            other = networks["b"](part.images.x).argmax(1)
        y = part.images.y
        assert torch.equal(attacked.fooled[mine], (before == y) & (after != y))
        assert torch.equal(attacked.both_right[mine], (before == y) & (other == y))
    assert 0 < int(attacked.fooled.sum()) < len(attacked)


def test_the_threshold_sees_held_out_images_only(measured):
    _, clean, attacked, held_out, _ = measured
    rows = evaluate_detection(clean, [attacked], held_out, false_positive_rate=0.2)
    threshold = calibrate(held_out.score, 0.2)
    scored = [row for row in rows if row.metric.startswith("score_")]
    assert scored
    assert {row.parameters["threshold"] for row in scored} == {threshold}
    assert {(row.parameters["nominal_false_positive_rate"], row.parameters["held_out"]) for row in scored} == {(0.2, 100)}
    found = {row.metric: row for row in scored if row.parameters["by"] == "all"}
    assert found["score_false_positive_rate"].successes == int((clean.score > threshold).sum())
    assert found["score_true_positive_rate"].successes == int((attacked.score > threshold).sum())
    assert found["score_true_positive_rate_fooled"].successes == int((attacked.score[attacked.fooled] > threshold).sum())
    # what is judged may be anything: the threshold stays
    other = dataclasses.replace(clean, first=clean.second, second=clean.second)
    (row,) = evaluate_detection(other, [], held_out, false_positive_rate=0.2).where(metric="score_false_positive_rate")
    assert row.parameters["threshold"] == threshold
    shared = dataclasses.replace(held_out, index=torch.cat([attacked.index[:1], held_out.index[1:]]))
    with pytest.raises(
        ValueError, match=rf"held_out shares image {int(attacked.index[0])} \(1 such images\) with attacked: a threshold must not see"
    ):
        evaluate_detection(clean, [attacked], shared)
    with pytest.raises(ValueError, match=r"held_out shares image \d+ \(120 such images\) with clean"):
        evaluate_detection(clean, [attacked], clean)


def test_a_network_never_disagrees_with_itself(seed):
    networks, images = randomly(seed)
    twins = {"a": networks["a"], "twin": networks["a"]}
    clean, target, held_out = split(images, 100, 100, seed)
    rows = evaluate_detection(
        observe(twins, clean), [observe_attacked(twins, mixture({"a": networks["a"]}, target, ATTACKS, seed))], observe(twins, held_out)
    )
    for metric in ("false_positive_rate", "true_positive_rate", "true_positive_rate_fooled", "score_false_positive_rate", "score_true_positive_rate"):
        assert by(rows, "all", metric)[0].successes == 0
    for area in rows.where(metric="auc"):
        assert area.value == 0.5
        assert area.low < 0.5 < area.high


def test_numbers_are_made_again_from_what_is_stored(measured, tmp_path):
    networks, clean, attacked, held_out, made = measured
    rows = evaluate_detection(clean, [attacked], held_out)
    kept = {"clean": clean, "attacked": attacked, "held_out": held_out}
    for name, observations in kept.items():
        safetensors.torch.save_file(observations.tensors(), tmp_path / name)
        np.savez(tmp_path / name, **{k: v.numpy() for k, v in observations.tensors().items()})
    read = {name: Observations.from_tensors(safetensors.torch.load_file(tmp_path / name)) for name in kept}
    assert evaluate_detection(read["clean"], [read["attacked"]], read["held_out"]).to_json() == rows.to_json()
    with np.load(tmp_path / "attacked.npz") as file:
        assert Observations.from_tensors({k: torch.from_numpy(file[k]) for k in file.files}).origins == attacked.origins
    # and from the images alone, in plain numpy
    x = torch.cat([part.x for part in made.values()]).flatten(1).double().numpy()
    chosen = [(x @ network[1].weight.detach().double().numpy().T).argmax(1) for network in networks.values()]
    assert by(rows, "all", "true_positive_rate", source="a")[0].successes == (chosen[0] != chosen[1]).sum()


def test_an_attacker_who_knows_the_detector(seed):
    networks, images = randomly(seed, shift=30)  # networks that have little in common, so that attacks on one hardly transfer
    attacks = {f"pgd{steps}": PGD(steps=steps, loss="margin") for steps in (20, 30)}
    unaware = observe_attacked(networks, mixture({"a": networks["a"]}, images, attacks, seed))
    made = joint_mixture(networks, images, attacks, seed)
    pair, part = Pair(*networks.values()), made["joint-pgd20"]
    assert torch.equal(part.x, Joint(attacks["pgd20"])(pair, part.images.x, part.images.y, part.eps, seed=seed))
    knows = observe_attacked(networks, made)
    assert torch.equal(knows.index, unaware.index)
    assert torch.equal(knows.eps, unaware.eps)
    assert [origin.attack for origin in knows.origins] == ["joint-pgd20", "joint-pgd30"]
    assert {origin.source for origin in knows.origins} == {"a+b"}
    rows = evaluate_detection(observe(networks, randomly(seed + 1)[1]), [unaware, knows])
    evaded = {row.source: row for row in by(rows, "all", "evasion_rate")}
    assert evaded["a+b"].n == evaded["a"].n == int(unaware.both_right.sum())
    assert evaded["a+b"].successes > evaded["a"].successes
    wrong = (knows.first.argmax(1) == knows.second.argmax(1)) & (knows.first.argmax(1) != knows.y)
    assert by(rows, "all", "undetected_error_rate", source="a+b")[0].successes == int(wrong.sum())


# ----------------------------------------------------------------------------------------------------------------------------- beside the paper


def test_two_sample_interval_is_newcombes(measured):
    _, clean, attacked, _, _ = measured
    row = by(evaluate_detection(clean, [attacked]), "all", "true_positive_rate")[0]
    for successes, n in ((736, 1000), (row.successes * 5, row.n * 5)):
        found = beside(row, successes, n)
        (a, b), (c, d) = wilson(row.successes, row.n), wilson(successes, n)
        difference = row.value - successes / n
        assert found.low == pytest.approx(difference - math.hypot(row.value - a, d - successes / n))
        assert found.high == pytest.approx(difference + math.hypot(b - row.value, successes / n - c))
    assert found.agrees  # with itself
    assert not beside(row, 0, 1000).agrees or row.successes < 5


def test_the_papers_four_numbers(measured):
    _, clean, attacked, held_out, _ = measured
    rows = evaluate_detection(clean, [attacked], held_out)
    found = beside_paper(rows, "fashion-mnist", "convnet", "qvc500")
    assert {metric: (c.successes, c.n) for metric, c in found.items()} == {"false_positive_rate": (227, 1000), "true_positive_rate": (736, 1000)}
    assert found["true_positive_rate"].ours is by(rows, "all", "true_positive_rate", source="a")[0]
    assert PAPER["fashion-mnist", "resnet18", "qvc500"] == {"false_positive_rate": (234, 1000), "true_positive_rate": (795, 1000)}
    assert beside_paper(rows, "mnist", "convnet", "qvc500") == {}


def test_claims_are_judged_on_the_measurements(measured):
    _, clean, attacked, _, _ = measured
    got = measurements(clean, attacked)
    texts = ["false_positives(a -> b) - published(227 of 1000) covers 0", "true_positives(a -> b, mixed) - published(736 of 1000) covers 0"]
    claim = Claim("12", "as in the paper", tuple(map(criterion, texts)), ("paper",))
    (verdict,) = evaluate(Claims((claim,), {"paper": {}}), got, datasets={"noise": 400})
    rows = evaluate_detection(clean, [attacked])
    for condition, (metric, source, successes) in zip(
        verdict.conditions, (("false_positive_rate", "", 227), ("true_positive_rate", "a", 736)), strict=True
    ):
        found = beside(by(rows, "all", metric, source=source)[0], successes, 1000)
        assert (condition.low, condition.high) == (pytest.approx(found.low), pytest.approx(found.high))
        assert (condition.verdict == "holds") == found.agrees


# ----------------------------------------------------------------------------------------------------------------------------------- wrong input


def test_refusals_of_the_detector(seed):
    networks, images = randomly(seed, 4)
    a, b = networks.values()
    with pytest.raises(TypeError, match=r"second must be a torch.nn.Module, got str"):
        Detector(a, "b")
    for threshold in (1.5, True, "x"):
        with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], as scores are, or None"):
            Detector(a, b, threshold)
    detector = Detector(a, b)
    with pytest.raises(TypeError, match=r"x must be a float32 tensor of images in \[0, 1\], got torch.uint8; convert bytes"):
        detector.alarm(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    for bad, message in ((torch.nan, "has a pixel that is NaN"), (1.5, r"has a pixel outside \[0, 1\]")):
        x = images.x.clone()
        x[2, 0, 1, 1] = bad
        with pytest.raises(ValueError, match=f"x: image 2 of 4 {message}"):
            detector.alarm(x)
    with pytest.raises(ValueError, match="x: image 0 of 1 is all zero"):
        detector.alarm(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"x must be images \(B, C, H, W\) or \(B, d\), or one image .*, got shape \(0, 1, 4, 4\)"):
        detector.alarm(images.x[:0])
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    with pytest.raises(ValueError, match="two networks of the same classes, but network 'first' has 3 and 'second' has 4"):
        Detector(a, wide).alarm(images.x)
    with pytest.raises(ValueError, match="same classes, but network 'a' has 3 and 'wide' has 4"):
        observe({"a": a, "wide": wide}, images)
    with pytest.raises(ValueError, match=r"networks must be two, the detector's, got 1 \(a\)"):
        observe({"a": a}, images)


def test_refusals_of_the_numbers(seed):
    for scores, rate, message in (
        (torch.rand(18), 0.05, "a false_positive_rate of 0.05 needs 19 held-out clean images or more, got 18"),
        (torch.rand(8), 0.1, "needs 9 held-out"),
        (torch.rand(50), 0, "false_positive_rate must be between 0 and 1, got 0; 5 % is 0.05"),
        (torch.full((50,), torch.nan), 0.1, r"scores must be \(n,\) in \[0, 1\], without NaN"),
        (torch.rand(50, 2), 0.1, r"got shape \(50, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrate(scores, rate)
    _, images = randomly(seed, 20)
    with pytest.raises(ValueError, match="8 clean, 8 attacked and 5 held-out images are 21, but 'noise/test' has 20"):
        split(images, 8, 5, 0)
    with pytest.raises(ValueError, match="n and held_out must be at least 1"):
        split(images, 0, 5, 0)
    for n, names, eps, message in (
        (0, ["a"], EPS_RANGE, "at least one image and one attack, each attack once, got 0 images"),
        (3, [], EPS_RANGE, "at least one image and one attack"),
        (3, ["a", "a"], EPS_RANGE, "each attack once"),
        (3, ["a"], (0.3, 0.2), r"eps_range must be \(low, high\) with 0 <= low <= high <= 1"),
        (3, ["a"], (0.3, 8), "eps_range must be"),
    ):
        with pytest.raises(ValueError, match=message):
            assign(n, names, eps, 0)
    with pytest.raises(ValueError, match="clean must be .* without NaN"):
        auc(torch.tensor([torch.nan]), torch.ones(1))
    with pytest.raises(ValueError, match="clean_index and attacked_index go together"):
        auc(torch.ones(1), torch.ones(1), torch.zeros(1))
    with pytest.raises(ValueError, match="one index a score, got 2 of 1 clean"):
        auc(torch.ones(1), torch.ones(1), torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match="needs clean and attacked scores, got 1 and 0"):
        roc(torch.ones(1), torch.ones(0))


def test_refusals_of_the_rows(measured):
    networks, clean, attacked, _, made = measured
    with pytest.raises(TypeError, match="attacked must be observations of attacked images"):
        evaluate_detection(clean, [clean])
    with pytest.raises(TypeError, match="clean must be observations of clean images"):
        evaluate_detection(attacked, [attacked])
    with pytest.raises(ValueError, match="attacked must be of the same networks and data set as clean: it is of a and c on 'noise/test'"):
        evaluate_detection(clean, [dataclasses.replace(attacked, networks=("a", "c"))])
    with pytest.raises(ValueError, match="one set a source, got a, a"):
        evaluate_detection(clean, [attacked, attacked])
    for edges, message in (((0.1,), "two or more numbers that rise"), ((0.1, 0.2), "eps_edges must contain all radii: they go from 0.1 to 0.2")):
        with pytest.raises(ValueError, match=message):
            evaluate_detection(clean, [attacked], eps_edges=edges)
    with pytest.raises(ValueError, match=r"attacked must be images of one data set, attacked on one source, got 2"):
        observe_attacked(networks, {**made, "again": dataclasses.replace(made["pgd"], source="b")})
    with pytest.raises(TypeError, match="attacked must map names to what craft makes, got Tensor"):
        observe_attacked(networks, {"pgd": made["pgd"].x})
    with pytest.raises(ValueError, match="claims are about attacks on the first network, 'a', got attacks on b"):
        measurements(clean, dataclasses.replace(attacked, origins=tuple(dataclasses.replace(o, source="b") for o in attacked.origins)))
    with pytest.raises(ValueError, match="not the tensors of observations"):
        Observations.from_tensors({k: v for k, v in clean.tensors().items() if k != "y"})
    with pytest.raises(TypeError, match=r"eps must be float32, one an image \(120\), got torch.float64"):
        dataclasses.replace(clean, eps=clean.eps.double())
    with pytest.raises(ValueError, match="origin runs from -1 to 0, but there are 0 origins"):
        dataclasses.replace(clean, origin=torch.cat([torch.zeros(1, dtype=torch.int64), clean.origin[1:]]))
