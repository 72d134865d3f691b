import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from qarmor.attacks.checks import bounds, rounded


def awkward(dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = 10.0 ** (-40 * torch.rand(40, generator=generator, dtype=torch.float64))
    plain = torch.rand(40, generator=generator, dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0, 2.0**-149, 2.0**-126, 1 - 2.0**-24, 1 - 2.0**-53, 0.5], dtype=torch.float64)
    return torch.cat([spread, 1 - spread, plain, ends]).to(dtype).clamp(0, 1)[None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.0, 1e-300, 1e-12, 1e-8, 1e-6, 1 / 255, 8 / 255, 0.1, 0.3, 1.0, 1e300])
def test_bounds_are_exact_and_tight(dtype: torch.dtype, eps: float, drawn_seed: int) -> None:
    x = awkward(dtype, drawn_seed)
    low, high = bounds(x, torch.tensor([eps], dtype=torch.float64))
    assert low.dtype == high.dtype == dtype
    beyond_low, beyond_high = torch.nextafter(low, torch.full_like(low, -1)), torch.nextafter(high, torch.full_like(high, 2))
    e = Fraction(eps)
    rows = zip(*(t[0].tolist() for t in (x, low, high, beyond_low, beyond_high)), strict=True)
    for centre, lo, hi, under, over in rows:
        c = Fraction(centre)
        said = f"x {centre!r}, eps {eps!r}: {lo!r}, {hi!r}"
        assert max(c - e, 0) <= Fraction(lo) <= c <= Fraction(hi) <= min(c + e, 1), said
        assert Fraction(under) < max(c - e, 0), f"not tight below: {said}"
        assert Fraction(over) > min(c + e, 1), f"not tight above: {said}"


def test_bounds_go_by_the_image() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    low, high = bounds(x, torch.tensor([0.0, 0.125, 0.25], dtype=torch.float64))
    assert low.amin((1, 2, 3)).tolist() == [0.5, 0.375, 0.25]
    assert high.amax((1, 2, 3)).tolist() == [0.5, 0.625, 0.75]


def test_rounded() -> None:
    value = torch.tensor([0.1, -0.1, 0.5], dtype=torch.float64)
    up, down = rounded(value, torch.float32, math.inf), rounded(value, torch.float32, -math.inf)
    assert (up.double() >= value).all()
    assert (down.double() <= value).all()
    assert (up > down).tolist() == [True, True, False]
