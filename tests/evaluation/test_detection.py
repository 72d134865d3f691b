"""Detection by disagreement: the detector, mixtures of attacks, and areas under ROC curves, by closed forms and other people's statistics."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, norm
from sklearn.metrics import roc_auc_score
from torch import nn

from qarmor.evaluation.detection import (
    Detector,
    assign,
    auc,
    calibrate,
    mixture,
    observe,
    roc,
    split,
    total_variation,
)
from tests.evaluation.conftest import randomly, tables

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
