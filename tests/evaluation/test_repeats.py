"""Means over seeds: the interval covers what it should, and claims use it."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from qarmor.evaluation import Measurement, evaluate, read, wilson
from qarmor.evaluation.repeats import over_seeds

CLAIM = '[variants.tuned]\n[[claims]]\nid = "1"\ntext = "a claim"\nvariants = ["tuned"]\ncriteria = {}\n'


def test_one_seed_is_its_own_interval() -> None:
    assert over_seeds([0.4], [0.3], [0.6]) == (0.4, 0.3, 0.6)


def test_without_error_of_images_it_is_students_interval() -> None:
    values = [0.2, 0.5, 0.4, 0.1]
    mean, low, high = over_seeds(values, values, values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((np.mean(values), *expected))


def test_without_error_of_seeds_it_is_the_interval_of_the_images() -> None:
    """The same images under every seed: more seeds say nothing more about other images."""
    assert over_seeds([0.5] * 9, [0.4] * 9, [0.7] * 9) == pytest.approx((0.5, 0.4, 0.7))


@pytest.mark.parametrize(("spread", "shared"), [(0.5, 1.0), (0.05, 1.0), (0.5, 0.2)])
def test_it_covers(seed, spread, shared) -> None:
    """Networks of five seeds, judged on the same 300 images: images that are hard for one are hard for all (``shared``), or not."""
    truth = stats.norm.cdf(0.3 / (1 + spread**2) ** 0.5)
    rng, covered, runs = np.random.default_rng(seed), 0, 400
    for _ in range(runs):
        hard, own = rng.normal(size=300), rng.normal(size=(5, 300))
        ability = 0.3 + spread * rng.normal(size=(5, 1))
        right = (ability + shared * hard + (1 - shared**2) ** 0.5 * own > 0).sum(1)
        bounds = [wilson(int(k), 300) for k in right]
        _, low, high = over_seeds([k / 300 for k in right], *zip(*bounds, strict=True))
        covered += low <= truth <= high
    assert covered >= 0.92 * runs


def test_wrong_numbers_are_refused() -> None:
    for arguments in (([], [], []), ([0.1], [0.1], [])):
        with pytest.raises(ValueError, match="one value and one interval a seed, one seed or more, got"):
            over_seeds(*arguments)


def _right(quantity: str, k: int, target: str, seed: int) -> Measurement:
    values = torch.zeros(100, dtype=torch.float64)
    values[:k] = 1
    fields = ("convnet", target, "pgd", 0.2) if quantity == "accuracy" else ("", target, "", 0.0)
    return Measurement("mnist", quantity, *fields, values, torch.arange(100), seed)


def test_claims_are_judged_on_the_mean_over_seeds() -> None:
    claims = read(CLAIM.format(json.dumps(["accuracy(convnet -> qvc200, pgd, 0.2) > 0.6"])))
    right = {0: 90, 1: 50, 2: 80}
    (alone,) = evaluate(claims, [_right("accuracy", 90, "qvc200", 0)], {"mnist": 100})
    (verdict,) = evaluate(claims, [_right("accuracy", k, "qvc200", seed) for seed, k in right.items()], {"mnist": 100})
    assert alone.verdict == "holds"
    assert verdict.verdict == "undecided"
    (condition,) = verdict.conditions
    expected = over_seeds([k / 100 for k in right.values()], *zip(*(wilson(k, 100) for k in right.values()), strict=True))
    assert (condition.value, condition.low, condition.high) == pytest.approx(expected)
    assert condition.seeds == (0, 1, 2)
    assert condition.n == (100,)


def test_networks_of_different_seeds_are_not_mixed() -> None:
    """A seed counts only where all of the criterion was measured of it."""
    claims = read(CLAIM.format(json.dumps(["accuracy(convnet -> qvc200, pgd, 0.2) - clean_paired(qvc200) < 0"])))
    both = [_right(quantity, k, "qvc200", seed) for seed in (0, 3) for quantity, k in (("accuracy", 40), ("clean", 90))]
    (verdict,) = evaluate(claims, [*both, _right("accuracy", 99, "qvc200", 7)], {"mnist": 100})
    assert verdict.conditions[0].seeds == (0, 3)
    assert verdict.conditions[0].value == pytest.approx(-0.5)
    (lacking,) = evaluate(claims, [_right("accuracy", 40, "qvc200", 1), _right("clean", 90, "qvc200", 2)], {"mnist": 100})
    assert lacking.verdict == "not measured"
