"""Square: against a plain program for one image, and where the answer is known."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import LOSSES, Streams
from qarmor.attacks.base import Ball
from qarmor.attacks.square import Square


class Recorder(nn.Module):
    """Keeps every point at which the model is asked; no gradient comes through."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.points = inner, []

    def forward(self, x: Tensor) -> Tensor:
        assert not x.requires_grad
        self.points.append(x.clone())
        return self.inner(x.detach())


class Same(nn.Module):
    """The first of two classes whatever the image, so nothing is ever better than the start."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).repeat(len(x), 1)


def plainly(model: nn.Module, x: Tensor, y: Tensor, eps: float, attack: Square, seed: int, position: int) -> Tensor:
    """The image that the attack should find for one image ``(C, H, W)`` or ``(d,)``, pixel by pixel, looking only at the final promise."""
    draws = Streams(seed, torch.tensor([position])).branch("restart 0")
    loss = LOSSES[attack.loss]
    ball = Ball.around(x[None], torch.tensor([eps], dtype=torch.float64))
    low, high = ball.low[0], ball.high[0]
    flat = x.ndim == 1
    channels, height, width = (1, 1, len(x)) if flat else x.shape
    grid = lambda t: t.view(channels, height, width)  # noqa: E731

    def judge(z: Tensor) -> tuple[float, bool]:
        logits = model(z[None])
        return loss(logits, y[None]).item(), logits.argmax(1).item() != y.item()

    seen = [(x, *judge(x))]
    signs = draws.uniform(channels, 1, width)[0]
    z = low.clone()
    for c, column in itertools.product(range(channels), range(width)):
        if signs[c, 0, column] >= 0.5:
            grid(z)[c, :, column] = grid(high)[c, :, column]
    value, wrong = judge(z)
    seen.append((z.clone(), value, wrong))
    if seen[0][2] or wrong:
        return max((s for s in seen), key=lambda s: (s[2], s[1]))[0]
    for query in range(attack.queries):
        of_ten_thousand = query * 10000 // attack.queries
        p = attack.p_init
        for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
            p = p / 2 if of_ten_thousand > last else p
        rows, columns = (1, max(round(p * width), 1)) if flat else (min(max(round(math.sqrt(p * height * width)), 1), height, width),) * 2
        numbers = draws.uniform(2 + channels)[0]
        top, left = int(numbers[0] * (height - rows + 1)), int(numbers[1] * (width - columns + 1))
        trial = z.clone()
        for c in range(channels):
            bound = low if numbers[2 + c] < 0.5 else high
            grid(trial)[c, top : top + rows, left : left + columns] = grid(bound)[c, top : top + rows, left : left + columns]
        new, fallen = judge(trial)
        if fallen:
            return trial
        if new > value:
            z, value = trial, new
            seen.append((z.clone(), value, False))
    return max(seen, key=lambda s: s[1])[0]


@pytest.mark.parametrize("loss", ["margin", "ce", "dlr"])
@pytest.mark.parametrize(("shape", "classes"), [((12,), 4), ((3, 2, 2), 10), ((1, 3, 4), 3), ((2, 3, 2), 2)])
def test_does_what_a_plain_program_does(shape, classes, loss, mlp, images, drawn_seed) -> None:
    if loss == "dlr" and classes < 3:
        pytest.skip("needs three classes")
    x, y = images(12, shape, classes, torch.float64, seed=drawn_seed)
    model = mlp(classes=classes, dtype=torch.float64)
    y[:9] = model(x[:9]).argmax(1)
    attack, eps = Square(queries=90, loss=loss), 0.05
    found = attack(model, x, y, eps, seed=drawn_seed)
    stays = 0
    for k in range(12):
        expected = plainly(model, x[k], y[k], eps, attack, drawn_seed, k)
        says = model(torch.stack([expected, found[k]])).argmax(1)
        assert says[0] == says[1], f"image {k}"
        if says[0] == y[k]:
            stays += 1
            assert torch.equal(found[k], expected), f"image {k}"
        elif model(x[k : k + 1]).argmax(1) != y[k]:
            assert torch.equal(found[k], expected), f"image {k}"
    print(f"{stays} of 12 stay")


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_exact_on_a_linear_model(classes, images) -> None:
    """Two classes: the optimum is a corner of the ball, and squares of one pixel find it. More: none falls that cannot."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()
    x, _ = images(60, (1, 3, 4), classes, dtype=torch.float64)
    y = model(x).argmax(1)
    weight = model[1].weight.detach()
    for eps in (0.02, 0.1):
        found = Square(queries=600)(model, x, y, eps)
        corners = [(x + eps * (weight[k] - weight[y]).sign().reshape(x.shape)).clamp(0, 1) for k in range(classes)]
        reach = torch.stack([model(c)[:, k] - model(c).gather(1, y[:, None]).squeeze(1) for k, c in enumerate(corners)], 1)
        possible = reach.scatter(1, y[:, None], -torch.inf).amax(1) > 0
        falls = model(found).argmax(1) != y
        assert torch.equal(falls, possible)
        assert 0 < falls.sum() < 60
        if classes == 2:
            best = torch.stack(corners)[1 - y, torch.arange(60)]
            assert (found - best).abs()[~falls].max() < 1e-12


def test_schedule_of_the_squares() -> None:
    """28 x 28 and 10,000 queries: sides by hand from p = .8, .4 ... of 784 pixels."""
    for queries in (10_000, 5000, 20_000):
        attack = Square(queries=queries)
        sides = {
            start: attack._window(math.ceil(start * queries / 10_000), 28, 28, flat=False)[0]
            for start in (0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
        }
        assert list(sides.values()) == [25, 18, 13, 9, 6, 4, 3, 2, 2, 1], queries
    attack = Square(queries=10_000)
    assert [attack._window(query, 28, 28, flat=False)[0] for query in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000, 9999)] == [
        25,
        18,
        13,
        9,
        6,
        4,
        3,
        2,
        2,
        1,
    ]
    assert [attack._window(query, 1, 784, flat=True) for query in (0, 11, 9999)] == [(1, 627), (1, 314), (1, 1)]
    assert attack._window(0, 4, 28, flat=False) == (4, 4)  # fits
    assert Square(p_init=1)._window(0, 8, 8, flat=False) == (8, 8)
    assert Square(p_init=1e-9)._window(0, 8, 8, flat=False) == (1, 1)


@pytest.mark.parametrize("shape", [(2, 5, 6), (30,)])
def test_start_and_squares(shape) -> None:
    """What the model is asked: low and high only, stripes at first, then one square away from them, anywhere, alike in a channel."""
    n, eps, attack = 40, 0.1, Square(queries=60, p_init=0.5)
    x = torch.rand((n, *shape), generator=torch.Generator().manual_seed(3))
    model = Recorder(Same())
    attack(model, x, torch.zeros(n, dtype=torch.int64), eps, seed=4)
    ball = Ball.around(x, torch.full((n,), eps, dtype=torch.float64))
    clean, start, *trials = model.points
    assert torch.equal(clean, x)
    assert len(trials) == 60
    for point in (start, *trials):
        assert ((point == ball.low) | (point == ball.high)).all()
    grid = (n, 1, 1, *shape) if len(shape) == 1 else (n, *shape)
    up = (start == ball.high).reshape(grid)
    assert torch.equal(up, up[:, :, :1].expand(grid))  # vertical stripes
    assert abs(up.float().mean() - 0.5) < 0.08
    assert (up != up[:1]).flatten(1).any(1)[1:].all()
    touched = torch.zeros(grid[1:])
    for query, trial in enumerate(trials):
        rows, columns = attack._window(query, grid[2], grid[3], flat=len(shape) == 1)
        moved = (trial != start).reshape(grid)
        for k, c in itertools.product(range(n), range(grid[1])):
            where = moved[k, c].nonzero()
            if len(where):
                extent = where.amax(0) - where.amin(0) + 1
                assert extent[0] <= rows
                assert extent[1] <= columns
                values = trial.reshape(grid)[k, c][moved[k, c]]
                highs = ball.high.reshape(grid)[k, c][moved[k, c]]
                assert (values == highs).all() or not (values == highs).any()
        touched += moved.float().sum(0)
    share = touched / touched.mean()
    assert share.min() > 0.3  # every pixel is reached, corners least


def test_work_falls_with_what_falls(images) -> None:
    class Bright(nn.Module):
        """Wrong from a brightness on."""

        def forward(self, x: Tensor) -> Tensor:
            level = x.flatten(1).mean(1)
            return torch.stack([0 * level, level - 0.6], 1)

    x, y = torch.cat([torch.full((10, 1, 4, 4), v) for v in (0.2, 0.7, 0.55)]), torch.zeros(30, dtype=torch.int64)
    model = Recorder(Bright())
    Square(queries=50)(model, x, y, 0.1)
    sizes = [len(p) for p in model.points]
    assert len(sizes) == 52
    assert sizes[:2] == [30, 30]  # the clean images and the first start, also of images that are wrong
    assert sizes[2:] == sorted(sizes[2:], reverse=True)
    assert sizes[2] <= 20
    assert sizes[-1] == 10  # those that cannot fall
    model.points.clear()
    Square(queries=50, restarts=3)(model, x[:20], y[:20], torch.tensor([0.1] * 9 + [0.0] + [0.1] * 10))
    assert [len(p) for p in model.points] == [20, 19] + 50 * [9] + 2 * 51 * [9]


def test_images_that_are_wrong_take_the_start(mlp, images) -> None:
    x, y = images(60, (3, 2, 2), dtype=torch.float64)
    model = mlp(dtype=torch.float64)
    found = Square(queries=2)(model, x, y, 0.1)
    wrong = model(x).argmax(1) != y
    rise = (LOSSES["margin"](model(found), y) - LOSSES["margin"](model(x), y))[wrong]
    assert (rise >= 0).all()
    assert (rise > 0).any()
    assert (model(found).argmax(1) != y)[wrong].all()


@pytest.mark.parametrize("shape", [(3, 2, 2), (12,)])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_batches_change_rounding_only(shape, classes, mlp, images) -> None:
    x, y = images(23, shape, classes, dtype=torch.float64)
    model = mlp(classes=classes, dtype=torch.float64)
    found = [Square(queries=40, restarts=2, batch_size=size)(model, x, y, 0.03, seed=2) for size in (3, 7, 256)]
    for other in found[1:]:
        assert (other - found[0]).abs().max() < 1e-9


def test_seeds_and_restarts(mlp, images) -> None:
    x, y = images(60, (3, 2, 2), dtype=torch.float64)
    model = mlp(dtype=torch.float64)
    once, again, other = (Square(queries=10)(model, x, y, 0.05, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    often = Square(queries=10, restarts=5)(model, x, y, 0.05, seed=1)
    wrong = [model(z).argmax(1) != y for z in (once, often)]
    before, after = (LOSSES["margin"](model(z), y) for z in (once, often))
    assert (wrong[1] | ~wrong[0]).all()
    assert (after >= before)[wrong[0] == wrong[1]].all()
    assert (after > before).sum() > 5


def test_one_eps_per_image(mlp, images, assert_within) -> None:
    x, y = images(7, (3, 2, 2))
    eps = torch.tensor([0, 1e-6, 1 / 255, 0.01, 0.1, 0.3, 0])
    found = Square(queries=30)(Recorder(mlp()), x, y, eps)
    assert_within(found, x, eps)
    assert torch.equal(found[[0, 6]], x[[0, 6]])
    assert (found != x).flatten(1).any(1)[1:6].any()


def test_other_shapes_and_losses(mlp, images) -> None:
    x, y = images(3, (3, 4))
    with pytest.raises(ValueError, match=r"x must be \(N, C, H, W\) or \(N, d\) for attack 'square', got shape \(3, 3, 4\)"):
        Square(queries=2)(mlp(), x, y, 0.1)
    x, y = images(3, classes=2)
    with pytest.raises(ValueError, match='the model has 2: use loss="margin"'):
        Square(queries=2, loss="dlr")(mlp(classes=2), x, y, 0.1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"queries": 0}, "queries must be a whole number, 1 or more, got 0"),
        ({"restarts": True}, "restarts must be a whole number, 1 or more, got True"),
        ({"p_init": 0}, "p_init must be a share of the pixels, more than 0 and at most 1, got 0"),
        ({"p_init": 1.1}, "p_init must be a share of the pixels, .* got 1.1"),
        ({"p_init": "0.8"}, "p_init must be a share of the pixels, .* got '0.8'"),
        ({"loss": "mse"}, "loss must be one of ce, margin, dlr, got 'mse'"),
    ],
)
def test_bad_options(options, match) -> None:
    with pytest.raises(ValueError, match=match):
        Square(**options)


def test_name_and_parameters() -> None:
    assert (Square.name, Square.needs_gradient) == ("square", False)
    assert Square().parameters == {"queries": 5000, "restarts": 1, "p_init": 0.8, "loss": "margin"}
