"""What the tests of parity with the authors' AutoAttack (``pyautoattack``, used in tests only) share: cases, and what an attack leaves robust.

Import it as ``from tests.attacks.parity import case, CASES, official, robust``. A case is always the same.
"""

import functools
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qarmor import load
from qarmor.attacks import PGD
from qarmor.models import QVC

IMAGES = 250
CASES = ("convnet", "mlp", "qvc", "random")

needs_official = pytest.mark.skipif(importlib.util.find_spec("pyautoattack") is None, reason="pyautoattack is not installed")

# The official attacks warn of zero gradients: through warnings, or a logger if they get one.
QUIET = logging.Logger("pyautoattack", level=logging.CRITICAL)


@dataclass(frozen=True, eq=False)
class Case:
    """A frozen network, images float32 ``(250, 1, 8, 8)`` with labels, and a radius at which about half of the images withstand PGD."""

    model: nn.Module
    x: Tensor
    y: Tensor
    eps: float


def _convnet(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, classes),
    )


def _mlp(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, classes))


def _qvc(classes: int) -> nn.Module:
    return QVC(max(6, classes), 4, classes, shape=(1, 8, 8))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"convnet": _convnet, "mlp": _mlp, "qvc": _qvc, "random": _mlp}


@functools.cache
def case(name: str, classes: int = 10) -> Case:
    """The case ``name``, one of ``CASES``: a small network trained on the first ``classes`` of the digits, or a random one.

    The random one sees random images, and its labels are what it says, a tenth of them another class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = NETWORKS[name](classes)
        if name == "random":
            x = torch.rand(IMAGES, 1, 8, 8)
            y = (model(x).argmax(1) + (torch.rand(IMAGES) < 0.1)) % classes
        else:
            digits = load("digits")
            train, test = digits.train.y < classes, digits.test.y < classes
            _train(model, digits.train.x[train], digits.train.y[train])
            x, y = digits.test.x[test][:IMAGES], digits.test.y[test][:IMAGES]
        if isinstance(model, QVC):
            model = model.freeze()
    model.eval().requires_grad_(False)
    return Case(model, x, y, _radius(model, x, y))


def _train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 0.02 if isinstance(model, QVC) else 0.003)
    for _ in range(6):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def _radius(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """By bisection, so no one chose it: half of the images that are right when clean withstand PGD."""
    half = robust(model, x, y).sum() / 2
    low, high = 0.0, 0.5
    for _ in range(10):
        middle = (low + high) / 2
        stands = robust(model, PGD(steps=20, loss="margin")(model, x, y, middle), y).sum() > half
        low, high = (middle, high) if stands else (low, middle)
    return high


def robust(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """bool ``(N,)``: the model is right on these images."""
    with torch.no_grad():
        return model(x).argmax(1) == y


def official(make: Callable[[], object], case: Case) -> Tensor:
    """The images that an official attack's ``perturb`` returns; ``make`` builds it. Global random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        attack = make()
        found: Tensor = attack.perturb(case.x.clone(), case.y.clone())  # type: ignore[attr-defined]
    assert ((found - case.x).abs() <= case.eps + 1e-6).all()
    return found
