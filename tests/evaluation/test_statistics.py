import math

import pytest
import torch
from scipy import optimize, stats

from qarmor.evaluation import mcnemar, paired_difference, wilson


def _pair(both, only_a, only_b, neither):
    a = torch.tensor([1] * both + [1] * only_a + [0] * only_b + [0] * neither, dtype=torch.bool)
    b = torch.tensor([1] * both + [0] * only_a + [1] * only_b + [0] * neither, dtype=torch.bool)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(0))
    return a[order], b[order]


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 250), (250, 250), (3, 7), (208, 250), (9999, 10000)])
def test_wilson_against_scipy(successes, n, confidence):
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_ends():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert [wilson(n, n)[1] for n in range(1, 30)] == [1.0] * 29  # without rounding


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3, 2), "got 3 of 2"), ((-1, 2), "got -1 of 2"), ((1, 2, 95), "confidence must be between 0 and 1, got 95"), ((1, 2, 0), "got 0")],
)
def test_wilson_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson(*arguments)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (5, 0), (3, 9), (9, 3), (4, 4), (200, 260), (3000, 3300)])
def test_mcnemar_against_scipy(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(*_pair(50, only_a, only_b, 20)) == pytest.approx(expected, rel=1e-9)


def test_the_worked_example_of_the_literature():
    """Bentur et al. (2009), 21 children, as worked out by Fagerland, Lydersen and Laake (2014): -.286, Newcombe (-.507, -.026)."""
    got = paired_difference(*_pair(1, 1, 7, 12))
    assert (got.value, got.low, got.high) == pytest.approx((-0.286, -0.507, -0.026), abs=5e-4)
    assert (got.n, got.only_a, got.only_b) == (21, 1, 7)
    assert got.p_value == pytest.approx(0.0703125)


def _tango(only_a, only_b, n):
    """Tango's score interval (1998) for the same difference, another derivation: the values that a score test doesn't refuse."""

    def score(d):
        linear = -only_a - only_b + (2 * n - only_a + only_b) * d
        root = math.sqrt(linear**2 + 8 * n * only_b * d * (1 - d))
        q = max((root - linear) / (4 * n), 0)
        return (only_a - only_b - n * d) / math.sqrt(max(n * (2 * q + d * (1 - d)), 1e-300))

    z, value = stats.norm.ppf(0.975), (only_a - only_b) / n
    return optimize.brentq(lambda d: score(d) - z, -1 + 1e-9, value), optimize.brentq(lambda d: score(d) + z, value, 1 - 1e-9)


@pytest.mark.parametrize("counts", [(200, 20, 5, 25), (100, 60, 60, 30), (900, 40, 10, 50), (120, 5, 70, 55), (1800, 90, 60, 50)])
def test_the_interval_is_close_to_tangos(counts):
    got = paired_difference(*_pair(*counts))
    assert (got.low, got.high) == pytest.approx(_tango(counts[1], counts[2], sum(counts)), abs=0.004)


def test_swapping_the_networks_mirrors_the_interval():
    a, b = _pair(30, 8, 2, 10)
    one, two = paired_difference(a, b), paired_difference(b, a)
    assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low))
    assert one.p_value == two.p_value


def test_the_interval_covers_as_often_as_it_says():
    probabilities = torch.tensor([0.7, 0.12, 0.06, 0.12])
    drawn = torch.multinomial(probabilities, 100 * 1000, replacement=True, generator=torch.Generator().manual_seed(1)).view(1000, 100)
    covered = 0
    for sample in drawn:
        got = paired_difference(sample < 2, (sample == 0) | (sample == 2))
        covered += got.low <= 0.06 <= got.high
    assert 0.93 <= covered / 1000 <= 0.975


@pytest.mark.parametrize("counts", [(5, 0, 0, 0), (0, 0, 0, 5), (0, 5, 0, 0), (0, 0, 5, 0), (1, 0, 0, 0)])
def test_extreme_tables_stay_finite_and_in_range(counts):
    got = paired_difference(*_pair(*counts))
    assert -1 <= got.low <= got.value <= got.high <= 1
    assert got.low < got.high


def test_paired_refusals():
    a, b = _pair(3, 1, 1, 1)
    with pytest.raises(TypeError, match=r"b_correct must be a bool tensor \(N,\), got torch.int64 of shape \(6,\); pass predictions == labels"):
        mcnemar(a, b.long())
    with pytest.raises(TypeError, match="a_correct must be a bool tensor"):
        paired_difference(a.tolist(), b)
    with pytest.raises(ValueError, match="same images, one or more, got 6 and 5"):
        mcnemar(a, b[:5])
    with pytest.raises(ValueError, match="got 0 and 0"):
        paired_difference(a[:0], b[:0])
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 2"):
        paired_difference(a, b, 2)
