"""Certified accuracy, and certified radii beside the smallest attack that succeeds."""

import math

import pytest
import torch
from scipy import stats

from qarmor.attacks import PGD
from qarmor.evaluation.certificates import Radii, certified_rows, radii
from qarmor.evaluation.statistics import wilson
from qarmor.evaluation.tightness import smallest_successful_attack, tightness
from qarmor.models import Quadratic
from qarmor.types import Images
from tests.evaluation.test_certificates import circuit, gap, pictures


def by_hand(*values):
    value = torch.tensor(values, dtype=torch.float64)
    return Radii(value > 0, value / 4, value / 8, value / 2, value / 5, value / 2, value, 1e-5)


def test_certified_accuracy_against_eps(images):
    found = by_hand(0.0, 0.1, 0.2, 0.2, 0.3, 0.0, 0.05, 0.0, 0.01, 0.4)
    assert found.certified(0.2).tolist() == [False, False, True, True, True, False, False, False, False, True]
    assert found.certified(0.2, "linf").sum() == 1
    assert torch.equal(found.certified(0.0), found.correct)
    rows = certified_rows(found, images, "qvc", [0.0, 0.2, 1.0])
    assert [(row.eps, row.successes, row.n, row.value) for row in rows] == [(0.0, 7, 10, 0.7), (0.2, 4, 10, 0.4), (1.0, 0, 10, 0.0)]
    one = rows[1]
    assert (one.low, one.high) == wilson(4, 10)
    assert (one.metric, one.source, one.target, one.attack, one.dataset, one.majority) == (
        "certified_accuracy",
        "qvc",
        "qvc",
        "certificate",
        images.name,
        0.5,
    )
    assert one.parameters == {"certificate": "linf_box", "slack": 1e-5}
    with pytest.raises(ValueError, match="certificate must be one of hypothesis_testing, exact_l2, linf, linf_box, got 'l2'"):
        found.certified(0.1, "l2")
    with pytest.raises(ValueError, match="radii are of 10 images, got 9 in 'line/test'"):
        certified_rows(found, images[1:], "qvc", [0.1])
    with pytest.raises(ValueError, match="eps_grid must rise strictly"):
        certified_rows(found, images, "qvc", [0.1, 0.1])


def test_certified_accuracy_is_never_above_that_under_attack(seed):
    A = circuit(6, 4, 3, 40)
    x, y = pictures(A, 60)
    images = Images(x.float(), (y + (torch.rand(60) < 0.2)) % 3, torch.arange(60), "pictures")
    found = radii(A, images.x, images.y)
    for eps in (0.0, 0.005, 0.01, 0.02, 0.05, 0.1):
        attacked = PGD(loss="margin", restarts=2)(Quadratic(A), images.x.double(), images.y, eps, seed=seed)
        assert found.certified(eps).sum() <= (gap(A, attacked, images.y) > 0).sum()


def test_the_smallest_attack_of_a_threshold_is_its_distance(threshold, images, sign_step):
    found = smallest_successful_attack({"t": threshold(0.4)}, images, sign_step, largest=0.4, steps=16)
    pixel = images.x[:, 0].double()
    wrong = (pixel > 0.4) != images.y.bool()
    distance = (pixel - 0.4).abs()
    reached = (distance < 0.4) & ~wrong
    assert wrong.sum() == 1
    assert torch.equal(found.eps[wrong], torch.zeros(1, dtype=torch.float64))
    assert found.eps[~wrong & ~reached].isinf().all()
    assert (~wrong & ~reached).any()
    assert torch.allclose(found.eps[reached], distance[reached], atol=2e-5)
    assert (found.eps[reached] >= distance[reached] - 1e-7).all()  # .4 in float32
    assert torch.equal((found.x[reached, 0] > 0.4).long(), 1 - images.y[reached])
    assert torch.equal(found.x[~reached], images.x[~reached])
    measured = (found.x.double() - images.x.double()).abs().amax(1)
    assert torch.equal(measured[reached], found.eps[reached])


def test_bad_arguments_of_the_smallest_attack(threshold, images, sign_step):
    with pytest.raises(ValueError, match="largest must be above 0 and at most 1"):
        smallest_successful_attack(threshold(), images, sign_step, largest=0)
    with pytest.raises(ValueError, match="steps must be a whole number, 0 or more, got -1"):
        smallest_successful_attack(threshold(), images, sign_step, steps=-1)
    with pytest.raises(ValueError, match="source must be one network, got 2"):
        smallest_successful_attack({"a": threshold(), "b": threshold()}, images, sign_step)
    with pytest.raises(TypeError, match="attack must have a name"):
        smallest_successful_attack(threshold(), images, print)


def test_tightness_by_hand():
    radius = torch.tensor([0.0, 0.2, 0.3, 0.1, 0.5, 0.2], dtype=torch.float64)
    smallest = torch.tensor([0.0, 0.4, 0.4, 0.1, math.inf, 0.8], dtype=torch.float64)
    found = tightness(radius, smallest)
    assert (found.median, found.n, found.violations) == (0.625, 4, 1)
    assert (found.low, found.high) == (0.25, 1.0)
    assert tightness(torch.tensor([0.1]).double(), torch.tensor([0.0]).double()).violations == 1  # certified, and wrong without any attack
    assert math.isnan(tightness(radius[:1], smallest[:1]).median)
    with pytest.raises(ValueError, match=r"radii and smallest must be \(N,\) of the same images, got shapes \(6,\) and \(5,\)"):
        tightness(radius, smallest[1:])


@pytest.mark.parametrize("n", [5, 6, 17, 100, 1001])
def test_the_interval_of_the_median_holds_95_percent(n, seed):
    """Its ends are order statistics l and n + 1 - l, the innermost that a fair coin misses at most once in 40 times on each side."""
    ratios = torch.rand(n).double().sort().values
    found = tightness(ratios[torch.randperm(n)] * 0.5, torch.full((n,), 0.5, dtype=torch.float64))
    below = int((ratios < found.low - 1e-12).sum())
    above = int((ratios > found.high + 1e-12).sum())
    assert below == above
    assert found.median == pytest.approx(float(ratios.quantile(0.5)))
    if n > 5:
        assert stats.binom.cdf(below, n, 0.5) <= 0.025 < stats.binom.cdf(below + 1, n, 0.5)
