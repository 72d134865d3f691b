import os
import secrets
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from qarmor import attacks
from qarmor.types import Attack, Classifier

BUILT = {
    "fgsm-ce": ("fgsm", {}),
    "fgsm-margin": ("fgsm", {"loss": "margin"}),
    "pgd-ce": ("pgd", {"steps": 4}),
    "pgd-margin": ("pgd", {"steps": 4, "loss": "margin", "restarts": 2}),
    "pgd-dlr": ("pgd", {"steps": 3, "loss": "dlr", "random_start": False}),
    "apgd-margin": ("apgd", {"steps": 6, "loss": "margin", "restarts": 2}),
    "apgd-t": ("apgd-t", {"steps": 4, "targets": 2}),
    "fab": ("fab", {"steps": 3, "restarts": 2}),
    "fab-t": ("fab-t", {"steps": 3, "targets": 2}),
    "square": ("square", {"queries": 20}),
    "autoattack": ("autoattack", {"steps": 3, "queries": 10}),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are too small to share, and threads that wait for a busy core make them a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=BUILT)
def make(request: pytest.FixtureRequest) -> Callable[..., Attack]:
    """Builds each of our attacks in turn; takes further options, as batch_size."""
    name, options = BUILT[request.param]
    return lambda **more: attacks.build(name, **options, **more)


@pytest.fixture
def mlp() -> Callable[..., nn.Module]:
    """A small smooth classifier of flattened images, eval, always the same."""

    def build(pixels: int = 12, classes: int = 4, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16), nn.Tanh(), nn.Linear(16, classes)).to(dtype).eval()

    return build


@pytest.fixture
def images() -> Callable[..., tuple[Tensor, Tensor]]:
    """Images with pixels at and next to the ends of [0, 1], and labels."""

    def build(n: int, shape: tuple[int, ...] = (12,), classes: int = 4, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand((n, *shape), generator=generator, dtype=torch.float64).to(dtype)
        flat = x.view(-1)
        ends = torch.tensor([0.0, 1.0, 1e-9, 1e-30, 1 - 2**-24, 0.5, 1 / 3], dtype=torch.float64).to(dtype)
        flat[: min(len(flat), 7)] = ends[: len(flat)]
        return x, torch.randint(classes, (n,), generator=generator)

    return build


@pytest.fixture
def assert_within() -> Callable[[Tensor, Tensor, float | Tensor], None]:
    """Image by image, in exact arithmetic: within eps and within [0, 1], no tolerance."""

    def check(found: Tensor, x: Tensor, eps: float | Tensor) -> None:
        assert found.shape == x.shape
        assert found.dtype == x.dtype
        radii = eps.tolist() if isinstance(eps, Tensor) else [eps] * len(x)
        for position, radius in enumerate(radii):
            pairs = zip(found[position].flatten().tolist(), x[position].flatten().tolist(), strict=True)
            worst = max(abs(Fraction(a) - Fraction(b)) for a, b in pairs)
            assert worst <= Fraction(radius), f"image {position} moved by {float(worst)!r}, eps {radius!r}"
            assert found[position].min() >= 0, f"image {position} left [0, 1]"
            assert found[position].max() <= 1, f"image {position} left [0, 1]"

    return check


@pytest.fixture
def drawn_seed() -> int:
    """A new seed every run, shown where a test fails; QARMOR_TEST_SEED replays it."""
    seed = int(os.environ.get("QARMOR_TEST_SEED", secrets.randbits(32)))
    print(f"replay with QARMOR_TEST_SEED={seed}")
    return seed


class NoisyWeights(Classifier):
    """Logits ``(W + sigma * noise) x`` of flattened images, with new noise for every image: their mean is ``W x``."""

    stochastic = True

    def __init__(self, weight: Tensor, sigma: float) -> None:
        super().__init__()
        self.weight, self.sigma = nn.Parameter(weight), sigma

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        noise = torch.randn(len(x), *self.weight.shape, dtype=x.dtype, device=x.device)
        return torch.einsum("bkd,bd->bk", self.weight + self.sigma * noise, x)


@pytest.fixture
def noisy(drawn_seed) -> NoisyWeights:
    generator = torch.Generator().manual_seed(drawn_seed)
    return NoisyWeights(torch.randn(3, 12, generator=generator, dtype=torch.float64), 1.0).eval()
