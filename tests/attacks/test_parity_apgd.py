"""Auto-PGD against the authors' code: the same points on the way, the same images left robust."""

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import LOSSES
from qarmor.attacks.apgd import APGD, APGDTargeted, climb, random_start, targeted_dlr
from qarmor.attacks.base import Ball, Oracle
from qarmor.attacks.streams import Streams
from tests.attacks.parity import CASES, QUIET, Case, case, needs_official, official, robust

pytestmark = needs_official
KINDS = ("ce", "dlr", "targeted")


def ours(kind: str, **options):
    return APGDTargeted(**options) if kind == "targeted" else APGD(loss=kind, **options)


def theirs(kind: str, model: nn.Module, eps: float, seed: int = 0, steps: int = 100, restarts: int = 1):
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    options = {"eps": eps, "n_iter": steps, "n_restarts": restarts, "seed": seed, "logger": QUIET}
    return APGDAttack_targeted(model, **options) if kind == "targeted" else APGDAttack(model, loss=kind, **options)


def left_by_ours(kind: str, c: Case, seed: int = 0, **options) -> Tensor:
    return robust(c.model, ours(kind, **options)(c.model, c.x, c.y, c.eps, seed=seed), c.y)


def ball_of(c: Case) -> Ball:
    return Ball.around(c.x, torch.full((len(c.x),), c.eps, dtype=torch.float64))


class Recorder(nn.Module):
    """Keeps every point at which the model is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.points = inner, []

    def forward(self, x: Tensor) -> Tensor:
        self.points.append(x.detach().clone())
        return self.inner(x)


@pytest.mark.parametrize("steps", [1, 7, 100])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_every_point_is_theirs(name: str, kind: str, steps: int) -> None:
    """From one start, bit for bit: pixels and radii here are multiples of 2^-24, so that both codes round their bounds alike."""
    c = case(name)
    start = random_start(c.x, ball_of(c), Streams(steps, torch.arange(len(c.x))))
    mine, other = Recorder(c.model), Recorder(c.model)
    attack = theirs(kind, other, c.eps, steps=steps)
    attack.init_hyperparam(c.x)
    if kind == "targeted":
        attack.y_target = target = (c.y + 1) % 10
        found = climb(Oracle(mine, c.y, 9), start, ball_of(c), lambda logits, y: targeted_dlr(logits, y, target), steps, 0.75)
    else:
        found = climb(Oracle(mine, c.y, 9), start, ball_of(c), LOSSES[kind], steps, 0.75)
    _, right, loss, _ = attack.attack_single_run(c.x, c.y, x_init=start)
    assert len(mine.points) == len(other.points) == steps + 1
    for k, (a, b) in enumerate(zip(mine.points, other.points, strict=True)):
        assert torch.equal(a, b), f"step {k}: {int((a != b).flatten(1).any(1).sum())} images differ by up to {(a - b).abs().max():.2g}"
    assert torch.equal(found.wrong, ~right.bool())
    assert torch.equal(found.loss[~found.wrong], loss[~found.wrong])
    assert (found.loss[found.wrong] <= loss[found.wrong]).all()  # theirs is of any point, ours of the fooled ones


@pytest.mark.parametrize(
    ("name", "kind", "restarts"),
    [
        *[(name, kind, restarts) for name in CASES for kind, restarts in (("ce", 1), ("dlr", 2))],
        *[(name, "targeted", 1) for name in ("mlp", "qvc")],
        *[pytest.param(name, kind, 5, marks=pytest.mark.slow) for name in CASES for kind in ("ce", "dlr")],
        *[pytest.param(name, "targeted", 2, marks=pytest.mark.slow) for name in CASES],
    ],
)
def test_same_starts_leave_the_same_images_robust(name: str, kind: str, restarts: int) -> None:
    """The whole attack, with our random starts handed to theirs: restarts, targets and who takes part in them.

    One image may differ: theirs leaves out images that are wrong when clean, so sums over the batch are rounded differently.
    """
    c, ball, seed = case(name), ball_of(case(name)), 3
    rounds = [f"restart {r}" for r in range(restarts)]
    if kind == "targeted":
        rounds = [f"target {t}, {r}" for t in range(9) for r in rounds]
    starts = iter([random_start(c.x, ball, Streams(seed, torch.arange(len(c.x))).branch(part)) for part in rounds])

    def make():
        attack = theirs(kind, c.model, c.eps, restarts=restarts)
        single = attack.attack_single_run

        def from_our_start(x: Tensor, y: Tensor) -> tuple:
            which = (x[:, None] == c.x).flatten(2).all(2).int().argmax(1)
            return single(x, y, x_init=next(starts)[which])

        attack.attack_single_run = from_our_start
        return attack

    left = left_by_ours(kind, c, seed, restarts=restarts)
    expected = robust(c.model, official(make, c), c.y)
    assert next(starts, None) is None  # all rounds took place
    assert 0.2 < expected.float().mean() < 0.8
    assert (left ^ expected).sum() <= 1


@pytest.mark.parametrize("name", ["mlp", "random", *[pytest.param(name, marks=pytest.mark.slow) for name in ("convnet", "qvc")]])
def test_targeted_leaves_the_same_images_robust_from_any_start(name: str) -> None:
    """Nine targets of 100 steps find what there is to find, whatever the random numbers."""
    c = case(name)
    expected = robust(c.model, official(lambda: theirs("targeted", c.model, c.eps), c), c.y)
    left = left_by_ours("targeted", c, seed=11)
    assert 0.2 < expected.float().mean() < 0.8
    assert (left ^ expected).sum() <= 1


@pytest.mark.parametrize("kind", ["ce", "dlr"])
def test_random_starts_are_as_good_as_theirs(kind: str) -> None:
    """One start fools some images by chance only (theirs with two seeds differ by up to 8 of 250): so compare means of many calls."""
    c, calls = case("mlp"), range(8)
    mine = torch.stack([left_by_ours(kind, c, seed).sum() for seed in calls]).double()
    found = [official(functools.partial(theirs, kind, c.model, c.eps, seed), c) for seed in calls]
    other = torch.stack([robust(c.model, images, c.y).sum() for images in found]).double()
    assert abs(mine.mean() - other.mean()) < 4 * math.sqrt((mine.var() + other.var()) / len(calls))
