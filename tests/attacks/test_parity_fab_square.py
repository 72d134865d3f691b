"""FAB, FAB-T and Square against the authors' code."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import LOSSES
from qarmor.attacks.base import Ball, Oracle
from qarmor.attacks.fab import FAB, FABTargeted
from qarmor.attacks.projection import step_to_hyperplane
from qarmor.attacks.square import Square
from qarmor.attacks.streams import Streams
from tests.attacks.parity import CASES, Case, case, needs_official, official, robust

pytestmark = needs_official


def ball_of(c: Case) -> Ball:
    return Ball.around(c.x, torch.full((len(c.x),), c.eps, dtype=torch.float64))


def at(c: Case, factor: float) -> Case:
    return dataclasses.replace(c, eps=c.eps * factor)


class Recorder(nn.Module):
    """Keeps every point at which the model is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.points = inner, []

    def forward(self, x: Tensor) -> Tensor:
        self.points.append(x.detach().clone())
        return self.inner(x)


# FAB


def their_fab(model: nn.Module, eps: float, *, targeted: bool, classes: int = 10, **options: int):
    from pyautoattack.fab_pt import FABAttack_PT

    return FABAttack_PT(model, eps=eps, targeted=targeted, n_target_classes=min(9, classes - 1), device=torch.device("cpu"), seed=0, **options)


def left_by_theirs(c: Case, targeted: bool, classes: int) -> tuple[Tensor, Tensor]:
    """What their attack leaves robust, and what is left if every result of its walks is cut to the ball besides."""
    left_when_cut = robust(c.model, c.x, c.y)

    def make():
        attack = their_fab(c.model, c.eps, targeted=targeted, classes=classes)
        single = attack.attack_single_run

        def cut(x: Tensor, y: Tensor, **options: bool) -> Tensor:
            reached = single(x, y, **options)
            which = (x[:, None] == c.x).flatten(2).all(2).int().argmax(1)
            left_when_cut[which] &= robust(c.model, ball_of(c).subset(which).project(reached), y)
            return reached

        attack.attack_single_run = cut
        return attack

    left = robust(c.model, official(make, c), c.y)
    return left, left & left_when_cut


def test_projection(drawn_seed) -> None:
    from pyautoattack.fab_projections import projection_linf

    generator = torch.Generator().manual_seed(drawn_seed)
    x, normal = torch.rand(500, 64, generator=generator), torch.randn(500, 64, generator=generator)
    x[torch.rand(500, 64, generator=generator) < 0.3] = 0
    normal[torch.rand(500, 64, generator=generator) < 0.2] = 0
    value = torch.randn(500, generator=generator) * 10 ** torch.empty(500).uniform_(-4, 1.5, generator=generator)
    theirs = projection_linf(x, normal, (normal * x).sum(1) - value)
    assert (step_to_hyperplane(x, normal, value) - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_walk_is_theirs(name: str, targeted: bool) -> None:
    """Point by point for twelve steps, while nobody falls. Rounding differs, and grows where a kink is crossed: so most images, not all."""
    c = case(name)
    right = robust(c.model, c.x, c.y)
    c = Case(c.model, c.x[right], c.y[right], 1e-6)
    mine, other = Recorder(c.model), Recorder(c.model)
    (FABTargeted(steps=12, targets=1) if targeted else FAB(steps=12))(mine, c.x, c.y, c.eps)
    attack = their_fab(other, c.eps, targeted=targeted, n_iter=12)
    attack.target_class = 2
    attack.attack_single_run(c.x, c.y, is_targeted=targeted)
    asked = mine.points[1:-1], other.points[2 if targeted else 1 :]
    assert [len(points) for points in asked] == [24, 24]
    for step, (a, b) in enumerate(zip(*asked, strict=True)):
        apart = (a - b).flatten(1).abs().amax(1)
        assert (apart < 1e-4).float().mean() > 0.95, f"point {step}: {int((apart >= 1e-4).sum())} of {len(apart)} images differ"
    assert (asked[0][-1] - c.x).flatten(1).abs().amax(1).median() > 1e-3


def cases_of_fab() -> list:
    """Every case at three radii, of which those that take little time are tried by default."""
    found = []
    for name, classes in (*((name, 10) for name in CASES), ("mlp", 2), ("convnet", 2), ("mlp", 3)):
        for factor in (0.5, 1, 1.5):
            for targeted in (False, True):
                heavy = factor != 1 or (classes == 10 and (name == "convnet" or (targeted and name != "mlp")))
                found.append(pytest.param(name, classes, factor, targeted, marks=[pytest.mark.slow] if heavy else []))
    return found


@pytest.mark.parametrize(("name", "classes", "factor", "targeted"), cases_of_fab())
def test_same_images_stay_robust(name: str, classes: int, factor: float, targeted: bool) -> None:
    """Theirs returns the smallest perturbation that it met, only if that is within eps. Ours, if it is not, cuts it to the ball and looks again.

    So ours fools every image that theirs does, and the same as theirs does if its results are cut likewise: some more, whose smallest
    perturbation was a little too long.
    """
    c = at(case(name, classes), factor)
    attack = FABTargeted() if targeted else FAB()
    left = robust(c.model, attack(c.model, c.x, c.y, c.eps), c.y)
    theirs, cut = left_by_theirs(c, targeted, classes)
    print(f"{int(left.sum())} left by ours, {int(theirs.sum())} by theirs, {int(cut.sum())} by theirs if cut")
    assert (left & ~theirs).sum() <= 1
    assert (left ^ cut).sum() <= 1
    assert (left ^ theirs).sum() <= 5
    if factor == 1:
        assert 0.2 < theirs.float().mean() / robust(c.model, c.x, c.y).float().mean() < 0.8


# Square


class Cropped(nn.Module):
    """Looks at all of an image but its last row and column."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x[..., :-1, :-1])


def framed(c: Case) -> Case:
    """A row and a column more that the network does not look at: theirs never draws the last place, so never changes what lies there."""
    return dataclasses.replace(c, model=Cropped(c.model), x=nn.functional.pad(c.x, (0, 1, 0, 1), value=0.5))


def their_square(c: Case, queries: int, loss: str = "margin", seed: int = 0):
    from pyautoattack.square import SquareAttack

    return SquareAttack(c.model, n_queries=queries, eps=c.eps, seed=seed, loss=loss, device=torch.device("cpu"))


@pytest.mark.parametrize("loss", ["margin", "ce"])
@pytest.mark.parametrize(("name", "classes"), [*((name, 10) for name in CASES), ("mlp", 2), ("convnet", 3)])
def test_same_numbers_leave_the_same_images_robust(name: str, classes: int, loss: str) -> None:
    """Theirs draws one place and sign for all images of a query; so here ours draws alike for all, and theirs is handed those numbers."""
    c, queries, seed = case(name, classes), 700, 6
    n = len(c.x)
    attack = Square(queries=queries, loss=loss)
    found = attack._perturb(Oracle(c.model, c.y, classes - 1), c.x, ball_of(c), Streams(seed, torch.zeros(n, dtype=torch.int64)))
    draws = Streams(seed, torch.zeros(1, dtype=torch.int64)).branch("restart 0")
    places: list[float] = []
    signs: list[float] = []

    def choice(shape: list[int]) -> Tensor:
        drawn = draws.uniform(1, 1, shape[3]).expand(shape) if len(shape) == 4 else torch.tensor(signs).reshape(shape)
        return torch.where(drawn < 0.5, -1.0, 1.0)

    def place(low: int, high: int) -> Tensor:
        if not places:
            numbers = draws.uniform(3)[0].tolist()
            places.extend(numbers[:2])
            signs[:] = numbers[2:]
        return torch.tensor([math.floor(places.pop(0) * (high + 1))])  # and reaches the last place

    walked: list[Tensor] = []

    def make():
        theirs = their_square(c, queries, loss)
        theirs.random_choice, theirs.random_int = choice, place
        single = theirs.attack_single_run

        def remember(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            walked.append(single(x, y)[1])
            return torch.ones(len(x)), walked[-1]

        theirs.attack_single_run = remember
        return theirs

    expected, left = robust(c.model, official(make, c), c.y), robust(c.model, found, c.y)
    assert torch.equal(left, expected)
    assert 0.1 < left.float().mean() < 0.9
    end = c.x.clone()
    end[robust(c.model, c.x, c.y)] = walked[0]
    value, before = (LOSSES[loss](c.model(z), c.y) for z in (end, c.x))
    same = left & (value > before)  # the clean image is a candidate of ours
    assert same.sum() > 10
    assert torch.equal(found[same], end[same])


@pytest.mark.parametrize(("name", "queries"), [("mlp", 1000), *(pytest.param(name, 5000, marks=pytest.mark.slow) for name in CASES)])
def test_own_numbers_leave_the_same_images_robust_but_for_chance(name: str, queries: int) -> None:
    """Three seeds each, where theirs can reach what ours can. What falls to every seed of the one falls to some seed of the other."""
    c = framed(case(name))
    mine = torch.stack([robust(c.model, Square(queries=queries)(c.model, c.x, c.y, c.eps, seed=s), c.y) for s in range(3)])
    theirs = torch.stack([robust(c.model, official(lambda: their_square(c, queries, seed=s), c), c.y) for s in range(3)])  # noqa: B023
    print("left by ours", mine.sum(1).tolist(), "by theirs", theirs.sum(1).tolist())
    assert (mine.all(0) & ~theirs.any(0)).sum() <= 1
    assert (theirs.all(0) & ~mine.any(0)).sum() <= 1
    assert abs(mine.sum() - theirs.sum()) / 3 < 6


def test_theirs_never_changes_the_last_row_and_column_and_ours_does() -> None:
    c = case("mlp")
    left = robust(c.model, Square(queries=1000)(c.model, c.x, c.y, c.eps), c.y)
    theirs = robust(c.model, official(lambda: their_square(c, 1000), c), c.y)
    print("left by ours", int(left.sum()), "by theirs", int(theirs.sum()))
    assert (left & ~theirs).sum() <= 3
    assert (theirs & ~left).sum() >= 10
