import math

import numpy as np
import pytest
import torch
from scipy import stats

from qarmor.evaluation import mover, paired_difference

HERE, THERE = b"these images", b"other images"


def _binary(seed, n, *probabilities):
    """Dependent 0/1 vectors: one uniform number an image, blurred for each."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.rand(n, generator=generator, dtype=torch.float64)
    out = []
    for p in probabilities:
        own = torch.rand(n, generator=generator, dtype=torch.float64)
        use_own = torch.rand(n, generator=generator) < 0.2
        out.append((torch.where(use_own, own, shared) < p).double())
    return out


@pytest.mark.parametrize("probabilities", [(0.9, 0.5), (0.5, 0.9), (0.02, 0.05), (0.99, 0.98), (0.0, 0.3), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("n", [1, 7, 250, 2000])
def test_a_difference_on_the_same_images_is_newcombes(probabilities, n):
    a, b = _binary(n, n, *probabilities)
    got = mover.total([(1, mover.rate(a, HERE)), (-1, mover.rate(b, HERE))])
    expected = paired_difference(a.bool(), b.bool())
    assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-12)


def test_opposite_answers_are_newcombes_too():
    a = (torch.arange(100) < 30).double()
    got = mover.total([(1, mover.rate(a, HERE)), (-1, mover.rate(1 - a, HERE))])
    expected = paired_difference(a.bool(), ~a.bool())
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_difference_of_different_images_is_newcombes_hybrid():
    """Newcombe's 1998 paper on independent rates, its example: 56 of 70 against 48 of 80, interval .0524 to .3339 (method 10)."""
    a, b = (torch.arange(70) < 56).double(), (torch.arange(80) < 48).double()
    got = mover.total([(1, mover.rate(a, HERE)), (-1, mover.rate(b, THERE))])
    assert (got.value, got.low, got.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert (got.low, got.high) == pytest.approx((mover.total([(1, mover.published(56, 70)), (-1, mover.published(48, 80))]).low, got.high))


@pytest.mark.parametrize("paired", [True, False])
def test_a_ratio_of_means_is_fiellers(paired):
    """Symmetric limits make MOVER's ratio Fieller's, here from its textbook form with variances and covariance."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.1, 0.5, 60)
    y = np.clip(x + generator.uniform(0.1, 0.4, 60), 0, 1)
    got = mover.ratio(mover.mean(torch.from_numpy(x), HERE), mover.mean(torch.from_numpy(y), HERE if paired else THERE))
    t = stats.t.ppf(0.975, 59)
    covariance = np.cov(x, y) / 60
    cross = covariance[0, 1] if paired else 0.0
    a = y.mean() ** 2 - t**2 * covariance[1, 1]
    b = x.mean() * y.mean() - t**2 * cross
    c = x.mean() ** 2 - t**2 * covariance[0, 0]
    root = math.sqrt(b * b - a * c)
    assert got.value == pytest.approx(x.mean() / y.mean())
    assert (got.low, got.high) == pytest.approx(((b - root) / a, (b + root) / a), rel=1e-9)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("p", "q", "n"), [(0.3, 0.9, 250), (0.01, 0.5, 100), (0.9, 0.95, 40), (0.4, 0.1, 60), (0.0, 0.9, 250), (1.0, 1.0, 30)])
def test_a_ratio_ends_where_the_difference_from_it_reaches_zero(p, q, n, paired):
    a, b = _binary(3, n, p, q)
    over, under = mover.rate(a, HERE), mover.rate(b, HERE if paired else THERE)
    got = mover.ratio(over, under)
    assert 0 <= got.low <= got.value <= got.high < math.inf
    if got.low > 0:
        assert mover.total([(1, over), (-got.low, under)]).low == pytest.approx(0, abs=1e-12)
    assert mover.total([(1, over), (-got.high, under)]).high == pytest.approx(0, abs=1e-12)


def _bootstrap(statistic, samples, seed=0, resamples=3000):
    """Percentile interval by resampling images; ``samples`` is a list of (n, k) arrays, resampled row by row, each apart from the others."""
    generator = np.random.default_rng(seed)
    drawn = []
    for sample in samples:
        weights = generator.multinomial(len(sample), np.full(len(sample), 1 / len(sample)), size=resamples)
        drawn.append(weights @ sample / len(sample))
    return np.percentile(statistic(*drawn), [2.5, 97.5])


def test_kept_shares_are_compared_as_a_bootstrap_does():
    """Attacked on 1,000 images, clean on 3,000 others: rate / rate - rate / rate, both pairs dependent."""
    a, b = _binary(5, 1000, 0.35, 0.25)
    c, d = _binary(6, 3000, 0.75, 0.95)
    one = mover.ratio(mover.rate(a, HERE), mover.rate(c, THERE))
    two = mover.ratio(mover.rate(b, HERE), mover.rate(d, THERE))
    got = mover.total([(1, one), (-1, two)])
    attacked, clean = torch.stack([a, b], 1).numpy(), torch.stack([c, d], 1).numpy()
    expected = _bootstrap(lambda x, y: x[:, 0] / y[:, 0] - x[:, 1] / y[:, 1], [attacked, clean])
    assert got.value == pytest.approx(float(a.mean() / c.mean() - b.mean() / d.mean()))
    assert (got.low, got.high) == pytest.approx(tuple(expected), abs=0.0035)
    unpaired = _bootstrap(lambda x, y, z: x[:, 0] / z[:, 0] - y[:, 0] / z[:, 1], [attacked[:, :1], attacked[:, 1:], clean])
    assert unpaired[1] - unpaired[0] > 1.15 * (got.high - got.low)  # the test can tell pairing from none


def test_weighted_sums_and_shares_are_as_a_bootstrap_has_them():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1000, generator=generator, dtype=torch.float64) * 0.6
    y = (x + torch.rand(1000, generator=generator, dtype=torch.float64) * 0.4).clamp(0, 1)
    z = (torch.rand(1000, generator=generator, dtype=torch.float64) < y).double()
    got = mover.total([(2, mover.mean(x, HERE)), (-0.5, mover.mean(y, HERE)), (-1, mover.rate(z, HERE))])
    expected = _bootstrap(lambda m: m @ np.array([2, -0.5, -1]), [torch.stack([x, y, z], 1).numpy()])
    assert (got.low, got.high) == pytest.approx(tuple(expected), abs=0.003)


def _coverage(make, truth, repeats=800):
    inside = sum(got.low <= truth <= got.high for got in (make(seed) for seed in range(repeats)))
    return inside / repeats


@pytest.mark.parametrize(("p", "q"), [(0.45, 0.9), (0.03, 0.8)])
@pytest.mark.parametrize("paired", [True, False])
def test_ratios_cover_as_often_as_they_say(p, q, paired):
    def make(seed):
        a, b = _binary(seed, 100, p, q)
        if not paired:
            (b,) = _binary(10_000 + seed, 150, q)
        return mover.ratio(mover.rate(a, HERE), mover.rate(b, HERE if paired else THERE))

    assert 0.93 <= _coverage(make, p / q) <= 0.985


def test_differences_of_ratios_cover_as_often_as_they_say():
    def make(seed):
        a, b = _binary(seed, 100, 0.4, 0.3)
        c, d = _binary(10_000 + seed, 200, 0.8, 0.9)
        kept = [mover.ratio(mover.rate(over, HERE), mover.rate(under, THERE)) for over, under in ((a, c), (b, d))]
        return mover.total([(1, kept[0]), (-1, kept[1])])

    assert 0.93 <= _coverage(make, 0.4 / 0.8 - 0.3 / 0.9) <= 0.98


def test_means_cover_as_often_as_they_say():
    def make(seed):
        return mover.mean(torch.rand(30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2, HERE)

    assert 0.93 <= _coverage(make, 1 / 3) <= 0.97


def test_no_certainty_without_spread():
    none, all_ = mover.rate(torch.zeros(250).double(), HERE), mover.rate(torch.ones(250).double(), THERE)
    kept = mover.ratio(none, all_)
    assert (kept.value, kept.low) == (0, 0)
    assert 0.015 < kept.high < 0.017
    difference = mover.total([(1, none), (-1, none)])
    assert difference.low == -difference.high < -0.01
    for values in (torch.full((50,), 0.3), torch.tensor([0.3]), torch.zeros(9), torch.ones(9)):
        got = mover.mean(values.double(), HERE)
        assert 0 <= got.low <= got.value <= got.high <= 1
        assert got.high - got.low > 0.2
    fifteen = stats.binomtest(15, 50).proportion_ci(method="wilson")
    got = mover.mean(torch.full((50,), 0.3).double(), HERE)
    assert got.low <= fifteen.low + 1e-9
    assert got.high >= fifteen.high - 1e-9


def test_a_ratio_over_nothing_is_undefined():
    got = mover.ratio(mover.rate(torch.ones(5).double(), HERE), mover.rate(torch.zeros(5).double(), HERE))
    assert math.isnan(got.value)
    assert (got.low, got.high) == (-math.inf, math.inf)
    assert mover.total([(1, mover.exact(3)), (-1, got)]) is mover.UNDEFINED


def test_exact_numbers_are_exact():
    got = mover.total([(2, mover.exact(7800)), (-1, mover.exact(600))])
    assert (got.value, got.low, got.high) == (15000, 15000, 15000)
    single = mover.total([(-1, mover.rate(torch.tensor([1.0, 1, 0, 0]).double(), HERE))])
    assert (single.low, single.high) == pytest.approx((-single.high - 1, -single.low - 1))  # symmetric about -1/2
