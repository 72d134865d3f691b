"""Networks and attacks small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import FGSM, PGD
from qarmor.evaluation.detection import mixture, observe, observe_attacked, split
from qarmor.types import Images, Row


class Threshold(nn.Module):
    """Class 1 where the first pixel is above ``at``, else class 0; keeps count of the images it was asked about."""

    def __init__(self, at: float = 0.5, scale: float = 10.0) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        above = self.scale * (x.flatten(1)[:, 0] - self.at)
        return torch.stack([-above, above], dim=1)


class Scripted:
    """An attack that returns what ``perturb(model, x, y, eps, seed)`` returns."""

    def __init__(self, perturb: Callable[..., Any], name: str = "scripted", **parameters: Any) -> None:
        self.perturb, self.name, self.parameters = perturb, name, parameters

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        return self.perturb(model, x, y, eps, seed)


def _sign_step(model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, seed: int) -> Tensor:
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
    radius = eps.view(-1, *[1] * (x.ndim - 1)) if isinstance(eps, Tensor) else eps
    return (x + radius * x.grad.sign()).clamp(0, 1).detach()


@pytest.fixture
def threshold() -> type[Threshold]:
    return Threshold


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def sign_step() -> Scripted:
    return Scripted(_sign_step, "sign-step", steps=1)


@pytest.fixture
def images() -> Images:
    """Ten images of two pixels; the first pixel is .05, .15, ..., .95 and the label says whether it is above .5."""
    x = torch.stack([torch.linspace(0.05, 0.95, 10), torch.full((10,), 0.5)], dim=1)
    return Images(x, (x[:, 0] > 0.5).long(), torch.arange(10), "line/test")


@pytest.fixture
def pictures() -> Images:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Images(x, (x[:, 0, 0, 0] > 0.5).long(), torch.arange(100, 106), "noise/test")


@pytest.fixture
def row() -> Callable[..., Row]:
    """An accuracy row of 100 images with made-up counts."""

    def make(successes: int, *, n: int = 100, **fields: Any) -> Row:
        parameters: Mapping[str, Any] = {"steps": 40, "loss": "ce"}
        defaults = {"dataset": "d", "source": "a", "target": "a", "attack": "pgd", "parameters": parameters, "eps": 0.1, "metric": "accuracy"}
        counts = {"value": successes / n, "successes": successes, "n": n, "low": 0.0, "high": 1.0, "majority": 0.1, "seed": 0}
        return Row(**{**defaults, **counts, **fields})

    return make


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
