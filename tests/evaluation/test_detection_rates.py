"""Rates of detectors: by hand, added up, made again from what is stored, and beside the paper's."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from qarmor.attacks import PGD
from qarmor.attacks.joint import Joint, Pair
from qarmor.evaluation import evaluate, wilson
from qarmor.evaluation.claims import Claim, Claims
from qarmor.evaluation.criteria import criterion
from qarmor.evaluation.detection import (
    EPS_EDGES,
    EPS_RANGE,
    PAPER,
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
)
from qarmor.types import Rows
from tests.evaluation.conftest import ATTACKS, randomly


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
