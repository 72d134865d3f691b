"""FAB and FAB-T: the projection against linear programming, and the attacks where the answer is known."""

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from qarmor.attacks import LOSSES
from qarmor.attacks.fab import FAB, FABTargeted
from qarmor.attacks.projection import step_to_hyperplane

BOTH = [FAB(steps=20), FABTargeted(steps=20)]


class Recorder(nn.Module):
    """Keeps every point at which the model is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.points = inner, []

    def forward(self, x: Tensor) -> Tensor:
        self.points.append(x.detach().clone())
        return self.inner(x)


def linear(classes: int, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()


def highest_margin(model: nn.Module, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
    """Of a linear model, exact: class by class, the best image is a corner of the ball."""
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    reach = torch.full((len(x), len(bias)), -torch.inf, dtype=torch.float64)
    for k in range(len(bias)):
        direction = weight[k] - weight[y]
        corner = (x.flatten(1) + eps[:, None] * direction.sign()).clamp(0, 1)
        reach[:, k] = (corner * direction).sum(1) + bias[k] - bias[y]
    return reach.scatter(1, y[:, None], -torch.inf).amax(1)


# The projection


def points(n: int, d: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pixels at the walls and directions that need nothing, besides ordinary ones."""
    x = torch.rand(n, d, generator=generator, dtype=torch.float64)
    x[torch.rand(n, d, generator=generator) < 0.2] = 0
    x[torch.rand(n, d, generator=generator) < 0.2] = 1
    normal = torch.randn(n, d, generator=generator, dtype=torch.float64)
    normal[torch.rand(n, d, generator=generator) < 0.2] = 0
    return x, normal


@pytest.mark.parametrize("d", [1, 2, 7, 20])
def test_projection_is_the_optimum_of_a_linear_program(drawn_seed, d) -> None:
    generator = torch.Generator().manual_seed(drawn_seed)
    x, normal = points(25, d, generator)
    value = torch.randn(25, generator=generator, dtype=torch.float64)
    step = step_to_hyperplane(x, normal, value)
    assert (x + step).aminmax().min >= 0
    assert (x + step).aminmax().max <= 1
    met = 0
    for z, w, v, moved in zip(x.tolist(), normal.tolist(), value.tolist(), step.tolist(), strict=True):
        # least t with w d = -v, |d_i| <= t, 0 <= z + d <= 1
        rows = [[float(i == j) for i in range(d)] + [-1.0] for j in range(d)] + [[-float(i == j) for i in range(d)] + [-1.0] for j in range(d)]
        box = [(-a, 1 - a) for a in z] + [(0, None)]
        answer = linprog([0.0] * d + [1.0], A_ub=rows, b_ub=[0.0] * (2 * d), A_eq=[[*w, 0.0]], b_eq=[-v], bounds=box)
        left = v + sum(a * b for a, b in zip(w, moved, strict=True))
        if answer.status == 0:
            met += 1
            assert abs(left) < 1e-9
            assert max(map(abs, moved)) == pytest.approx(answer.fun, abs=1e-7)
        else:  # no such point: the nearest is the corner
            assert answer.status == 2
            corner = [0.0 if b == 0 else (float(b * v < 0) - a) for a, b in zip(z, w, strict=True)]
            assert moved == pytest.approx(corner)
    assert met < 25 or d > 2


def test_projection_moves_nothing_without_need() -> None:
    x = torch.tensor([[0.2, 0.0, 1.0]] * 3)
    normal = torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(step_to_hyperplane(x, normal, torch.tensor([0.0, 0.5, 0.0])), torch.zeros(3, 3))


def test_projection_leaves_coordinates_that_do_not_matter(drawn_seed) -> None:
    x, normal = points(30, 9, torch.Generator().manual_seed(drawn_seed))
    step = step_to_hyperplane(x, normal, torch.full((30,), 1e-3, dtype=torch.float64))
    assert (step[normal == 0] == 0).all()
    assert (step != 0).any(1).sum() > 20


# The attacks


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.name)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_exact_on_a_linear_model(attack, classes, drawn_seed) -> None:
    """Whoever can fall falls, where the ball reaches over the boundary by at least a hundredth of its radius.

    Which class seems nearest is told without the walls of the box, as the authors do: so FAB is exact away from them, or for two classes.
    """
    generator = torch.Generator().manual_seed(drawn_seed)
    model = linear(classes)
    x = torch.rand(100, 12, generator=generator, dtype=torch.float64)
    if isinstance(attack, FABTargeted) or classes == 2:
        x[:, :3] = x[:, :3].round()
    else:
        x = 0.2 + 0.6 * x
    y, fallen = model(x).argmax(1), 0
    for radius in (0.01, 0.05, 0.15):
        eps = torch.full((100,), radius, dtype=torch.float64)
        falls = model(attack(model, x, y, radius)).argmax(1) != y
        possible, surely = (highest_margin(model, x, y, eps * factor) > 0 for factor in (1, 0.99))
        assert not (falls & ~possible).any()
        assert falls[surely].all()
        fallen += int(falls.sum())
    assert 10 < fallen < 290


class Threshold(nn.Module):
    """Wrong from .8 on in the first pixel; the second does not matter."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] - 0.8], 1)


@pytest.mark.parametrize("attack", [FAB, FABTargeted])
def test_one_step_by_hand(attack) -> None:
    """The boundary is .1 from the iterate and .3 from the image: weights .75 and .25, unless alpha_max is less. Both overshoot by eta."""
    z, origin = torch.tensor([[0.7, 0.5]]).double(), torch.tensor([[0.5, 0.3]]).double()
    for alpha_max, first, second in (
        (0.1, 0.9 * 0.805 + 0.1 * 0.815, 0.9 * 0.5 + 0.1 * 0.3),
        (1.0, 0.75 * 0.805 + 0.25 * 0.815, 0.75 * 0.5 + 0.25 * 0.3),
    ):
        moved = attack(alpha_max=alpha_max)._step(z, origin, torch.tensor([-0.1]).double(), torch.tensor([[1.0, 0.0]]).double())
        assert moved[0].tolist() == pytest.approx([first, second], abs=1e-7)


@pytest.mark.parametrize("attack", [FAB, FABTargeted])
def test_a_walk_by_hand(attack) -> None:
    """From .5 over .8 by eta; back to beta of the way, since that is adversarial; over again, drawn a little to the image's own projection."""
    model = Recorder(Threshold())
    found = attack(steps=2, eta=1.05, beta=0.9)(model, torch.full((1, 2), 0.5).double(), torch.tensor([0]), 0.1)
    back = 0.5 + 0.9 * 0.315
    alpha = (0.8 - back) / (0.8 - back + 0.3)
    over = (1 - alpha) * (back + 1.05 * (0.8 - back)) + alpha * 0.815
    assert [p[0, 0].item() for p in model.points] == pytest.approx([0.5, 0.5, 0.815, back, over, 0.6], abs=1e-12)
    assert found[0].tolist() == pytest.approx([0.6, 0.5])  # the nearest adversarial image, cut to the ball


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.name)
def test_what_resists_comes_back_worse(attack, mlp, images, assert_within) -> None:
    x, y = images(60, classes=10, dtype=torch.float64)
    model = mlp(classes=10, dtype=torch.float64)
    y[:40] = model(x[:40]).argmax(1)
    eps = 0.01
    found = attack(model, x, y, eps)
    assert_within(found, x, eps)
    before, after = model(x), model(found)
    resists, wrong = after.argmax(1) == y, before.argmax(1) != y
    rise = LOSSES["margin"](after, y) - LOSSES["margin"](before, y)
    for group in (resists, wrong):
        assert group.sum() > 4
        assert (rise[group] > 0).float().mean() > 0.9
    assert (after.argmax(1) != y)[wrong].all()


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.name)
@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_the_scale_of_the_logits_does_not_matter(attack, mlp, images, scale) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp(classes=5, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return scale * self.inner(x)

    x, y = images(40, classes=5, dtype=torch.float64)
    model = Scaled()
    assert torch.allclose(attack(model, x, y, 0.05), attack(model.inner, x, y, 0.05), atol=1e-7)


@pytest.mark.parametrize("attack", [FAB(steps=12, restarts=3), FABTargeted(steps=12, restarts=2, targets=2)], ids=lambda a: a.name)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_batches_and_shapes_change_rounding_only(attack, classes, mlp, images) -> None:
    x, y = images(23, (3, 2, 2), classes, dtype=torch.float64)
    model = mlp(classes=classes, dtype=torch.float64)
    found = attack(model, x, y, 0.03, seed=2)
    for size in (1, 7):
        other = type(attack)(**{**attack.parameters, "batch_size": size})(model, x, y, 0.03, seed=2)
        assert (other - found).abs().max() < 1e-9
    assert (attack(model, x.flatten(1), y, 0.03, seed=2) - found.flatten(1)).abs().max() < 1e-9


@pytest.mark.parametrize("attack", [FAB, FABTargeted])
def test_the_first_walk_is_not_random_and_the_others_are(attack, mlp, images) -> None:
    class Waves(nn.Module):
        """Many boundaries, and no straight way to the nearest."""

        def forward(self, x: Tensor) -> Tensor:
            wave = (40 * x).sin().sum(1)
            return torch.stack([torch.zeros_like(wave), wave - 11, (50 * x).cos().sum(1) - 11], 1)

    x, y = images(80, classes=1, dtype=torch.float64)
    model = Waves()
    first = attack(steps=5)(model, x, y, 0.05, seed=1)
    assert torch.equal(first, attack(steps=5)(model, x, y, 0.05, seed=2))
    more = [attack(steps=5, restarts=4)(model, x, y, 0.05, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(more[0], more[1])
    assert not torch.equal(more[0], more[2])
    wrong = [model(z).argmax(1) != y for z in (first, more[0])]
    assert (wrong[1] | ~wrong[0]).all()
    before, after = (LOSSES["margin"](model(z), y) for z in (first, more[0]))
    assert (after >= before)[~wrong[1]].all()
    assert (wrong[1] & ~wrong[0]).any()


def test_random_starts_are_within_half_eps(images) -> None:
    x, y = images(20, dtype=torch.float64)
    model = Recorder(linear(4))
    y = model(x).argmax(1)
    model.points.clear()
    eps = torch.linspace(1e-5, 1e-4, 20, dtype=torch.float64)
    FAB(steps=3, restarts=2)(model, x, y, eps)
    clean, first, *_ = model.points
    assert torch.equal(clean, first)
    second = model.points[1 + 2 * 3 + 1]
    ratio = (second - x).abs().amax(1) / (eps / 2)
    assert (ratio <= 1 + 1e-9).all()
    assert (ratio > 0.9).sum() > 15  # a pixel of every image goes all the way, if the box lets it
    assert second.min() >= 0


def test_targets_are_the_likeliest_wrong_classes_in_turn() -> None:
    """Class 1 is likely but out of reach; class 3 is reached most easily, but is ranked third."""

    class Ranked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            zero = 0 * x[:, 0]
            return torch.stack([zero, zero - 0.1 + 1e-6 * x[:, 2], zero - 0.2 + 0.3 * x[:, 0], zero - 0.3 + x[:, 1], zero - 0.4], 1)

    x, y = torch.zeros(6, 3, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    model = Ranked()
    said = [model(FABTargeted(targets=targets)(model, x, y, 0.8)).argmax(1) for targets in (1, 2, 3, 4, 9)]
    assert [s.unique().tolist() for s in said] == [[0], [2], [2], [2], [2]]
    assert model(FAB()(model, x, y, 0.8)).argmax(1).unique().tolist() == [3]
    assert model(FABTargeted(targets=2)(model, x, y, 0.4)).argmax(1).unique().tolist() == [0]
    assert model(FABTargeted(targets=3)(model, x, y, 0.4)).argmax(1).unique().tolist() == [3]


@pytest.mark.parametrize("attack", [FAB(steps=25, restarts=2), FABTargeted(steps=25, targets=2)], ids=lambda a: a.name)
def test_work_falls_with_what_falls(attack, images) -> None:
    x, _ = images(30, dtype=torch.float64)
    model = Recorder(linear(4))
    y = model(x).argmax(1)
    for eps, passes in ((1e-4, 1 + 2 * (2 * 25 + 1)), (0.5, 1 + 2 * 10)):  # all resist; all fall in the first ten steps
        model.points.clear()
        attack(model, x, y, eps)
        assert [len(p) for p in model.points] == [30] * passes
    model.points.clear()
    attack(model, x, (y + 1) % 4, 0.1)  # all wrong: the clean image, its gradient, one step
    assert [len(p) for p in model.points] == [30] * 3


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.name)
def test_one_eps_per_image(attack, mlp, images, assert_within) -> None:
    x, y = images(7, (3, 2, 2))
    eps = torch.tensor([0, 1e-6, 1 / 255, 0.01, 0.1, 0.3, 0])
    model = Recorder(mlp())
    found = attack(model, x, y, eps)
    assert_within(found, x, eps)
    assert torch.equal(found[[0, 6]], x[[0, 6]])
    assert all(len(p) <= 5 for p in model.points[1:])  # no work for images that cannot move
    for k in range(1, 6):
        assert torch.allclose(attack(model, x[k : k + 1], y[k : k + 1], eps[k].item()), found[k : k + 1], atol=1e-5)


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.name)
def test_no_gradient_is_an_error_and_a_zero_one_is_not(attack, mlp, images) -> None:
    class Altered(nn.Module):
        def __init__(self, factor: float | None) -> None:
            super().__init__()
            self.inner, self.factor = mlp(), factor

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.detach()) if self.factor is None else self.inner(x.detach()) + self.factor * x.flatten(1)[:, :4]

    x, y = images(9)
    y = Altered(0)(x).argmax(1)
    with pytest.raises(ValueError, match="the logits do not depend on the images"):
        attack(Altered(None), x, y, 0.1)
    with pytest.raises(ValueError, match="the logits do not depend on the images"):
        attack(Altered(None), x, (y + 1) % 4, 0.1)
    assert torch.allclose(attack(Altered(0), x, y, 0.1), x)
    with pytest.raises(ValueError, match="not finite"):
        attack(Altered(torch.nan), x, y, 0.1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"restarts": 1.5}, "restarts must be a whole number, 1 or more, got 1.5"),
        ({"alpha_max": -0.1}, "alpha_max must be a number from 0 to 1, got -0.1"),
        ({"alpha_max": True}, "alpha_max must be a number from 0 to 1, got True"),
        ({"eta": 0.9}, "eta must be a number from 1 to 2, got 0.9"),
        ({"eta": float("nan")}, "eta must be a number from 1 to 2, got nan"),
        ({"beta": "0.9"}, "beta must be a number from 0 to 1, got '0.9'"),
    ],
)
@pytest.mark.parametrize("attack", [FAB, FABTargeted])
def test_bad_options(attack, options, match) -> None:
    with pytest.raises(ValueError, match=match):
        attack(**options)


def test_bad_targets() -> None:
    with pytest.raises(ValueError, match="targets must be a whole number, 1 or more, got 0"):
        FABTargeted(targets=0)


def test_names_and_parameters() -> None:
    shared = {"steps": 100, "restarts": 1, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    assert (FAB.name, FAB().parameters) == ("fab", shared)
    assert (FABTargeted.name, FABTargeted().parameters) == ("fab-t", {**shared, "targets": 9})
