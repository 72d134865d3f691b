"""Auto-PGD by itself: its losses and plan, who takes part, promises on odd models; test_parity_apgd.py has the authors' code."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import LOSSES, PGD
from qarmor.attacks.apgd import APGD, APGDTargeted, checkpoints, climb, random_start, targeted_dlr
from qarmor.attacks.base import Ball, Oracle
from qarmor.attacks.streams import Streams

EPS = 0.1
ALL = [APGD(steps=12), APGD(steps=12, loss="margin", restarts=2), APGD(steps=12, loss="dlr"), APGDTargeted(steps=12, targets=2, restarts=2)]
every_attack = pytest.mark.parametrize("attack", ALL, ids=repr)


def sized(attack: APGD | APGDTargeted, batch_size: int) -> APGD | APGDTargeted:
    return type(attack)(**attack.parameters, batch_size=batch_size)


def wrong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) != y


class Counting(nn.Module):
    """Keeps how many images it is asked about, call by call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.sizes = inner, []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.inner(x)


class Flat(nn.Module):
    """Logits that depend on the images, with zero gradient: class 0 always wins."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.offset = torch.linspace(1, 0, classes)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).sum(1) * 0)[:, None] + self.offset.to(x.dtype)


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_targeted_dlr_is_the_formula_and_ignores_scale_and_shift(seed, classes) -> None:
    logits = torch.randn(50, classes, dtype=torch.float64)
    y = torch.randint(classes, (50,))
    target = (y + torch.randint(1, classes, (50,))) % classes
    found = targeted_dlr(logits, y, target)
    for row, label, aim, value in zip(logits.tolist(), y.tolist(), target.tolist(), found.tolist(), strict=True):
        first, _, third, fourth, *_ = sorted(row, reverse=True)
        assert value == pytest.approx(-(row[label] - row[aim]) / (first - (third + fourth) / 2), rel=1e-9)
    assert torch.allclose(targeted_dlr(7 * logits - 3, y, target), found, rtol=1e-9)
    assert (targeted_dlr(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([1, 2])) == 0).all()


def test_targeted_dlr_gradient_is_that_of_finite_differences(seed) -> None:
    logits = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    y = torch.arange(8) % 6
    assert torch.autograd.gradcheck(lambda z: targeted_dlr(z, y, (y + 2) % 6), logits)


def test_checkpoints_are_those_of_the_paper() -> None:
    """Section 3.3: p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06); here of 100 steps."""
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(5)) == [1, 2, 3, 4, 5]
    assert checkpoints(1) == {1}
    for steps in range(1, 300):
        assert min(checkpoints(steps)) == max(math.floor(0.22 * steps + 1e-9), 1)
        assert max(checkpoints(steps)) <= steps


def test_starts_lie_on_the_surface_of_the_cube(images) -> None:
    x = torch.full((200, 3, 2, 2), 0.5, dtype=torch.float64)
    eps = torch.linspace(0.01, 0.5, 200, dtype=torch.float64)
    shift = random_start(x, Ball.around(x, eps), Streams(0, torch.arange(200))) - x
    reach = shift.abs().flatten(1).amax(1)
    assert torch.allclose(reach, eps, rtol=1e-9)
    part = (shift / eps[:, None, None, None]).flatten()
    assert abs(part.mean()) < 4 * part.std() / len(part) ** 0.5
    assert part.abs().mean() > 0.5  # of a uniform number it is 1/2, and these are stretched


def test_it_finds_the_corner_of_a_linear_model(images) -> None:
    """Two classes: the loss rises with (w_wrong - w_true) x, so the optimum is x + eps sign(w_wrong - w_true), clipped to the box."""
    x, y = images(20, classes=2, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Linear(12, 2).double()
    corner = (x + EPS * (model.weight[1 - y] - model.weight[y]).sign().detach()).clamp(0, 1)
    for loss in ("ce", "margin"):
        assert (APGD(steps=20, loss=loss)(model, x, y, EPS) - corner).abs().max() < 1e-9


def test_steps_are_halved_where_the_loss_stops_rising() -> None:
    """About a ridge no step of fixed length gains: it oscillates, and is halved at every checkpoint."""

    class Tent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            height = 1 - (x[:, 0] - 0.513).abs()
            return torch.stack([torch.zeros_like(height), height], 1)

    x, points = torch.tensor([[0.5]], dtype=torch.float64), []
    ball = Ball.around(x, torch.tensor([0.1], dtype=torch.float64))
    model = Tent()
    model.register_forward_pre_hook(lambda module, inputs: points.append(inputs[0].item()))
    best = climb(Oracle(model, torch.tensor([0]), 0), x - 0.1, ball, LOSSES["margin"], 100, 0.75)
    lengths = [abs(b - a) for a, b in itertools.pairwise(points)]
    assert lengths[0] == pytest.approx(0.2)
    for halvings, (before, after) in enumerate(itertools.pairwise([2, 22, 41, 57, 70, 80, 87, 93, 99])):
        step = 0.2 / 2**halvings
        assert step / 4 < max(lengths[before + 1 : after]) < step  # not the very first, which comes back to the highest point
    assert abs(best.x.item() - 0.513) < 0.001


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
def test_any_number_of_classes_and_no_weaker_than_pgd(mlp, images, assert_within, classes, shape) -> None:
    x, y = images(60, shape, classes)
    model = mlp(classes=classes)
    losses = [loss for loss in LOSSES if loss != "dlr" or classes > 2]
    for loss in losses:
        found = APGD(loss=loss, steps=50)(model, x, y, EPS)
        assert_within(found, x, EPS)
        fooled = wrong(model, found, y)
        assert fooled.sum() >= wrong(model, PGD(steps=50, loss=loss)(model, x, y, EPS), y).sum()
    if classes >= 4:
        found = APGDTargeted(steps=50)(model, x, y, EPS)
        assert_within(found, x, EPS)
        assert wrong(model, found, y).sum() >= fooled.sum()


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_eps_per_image(mlp, images, assert_within, attack, dtype) -> None:
    x, y = images(7, (3, 2, 2), dtype=dtype)
    eps = torch.tensor([0, 1e-6, 1 / 255, 0.01, 0.1, 0.3, 0])
    found = attack(mlp(dtype=dtype), x, y, eps)
    assert_within(found, x, eps)
    assert torch.equal(found[[0, 6]], x[[0, 6]])
    alone = attack(mlp(dtype=dtype), x, y, eps[4].item())
    assert torch.allclose(found[4], alone[4], atol=1e-6)


@every_attack
def test_batch_size_changes_rounding_only(mlp, images, attack) -> None:
    """With images that drop out after the first round and images that stay."""
    x, y = images(23, (3, 2, 2), dtype=torch.float64)
    model = mlp(dtype=torch.float64)
    found = [sized(attack, size)(model, x, y, 0.03, seed=5) for size in (1, 7, 256)]
    fooled = wrong(model, found[0], y)
    assert fooled.any()
    assert not fooled.all()
    for other in found[1:]:
        assert (found[0] - other).abs().max() < 1e-9


@every_attack
def test_a_seed_decides_the_starts(mlp, images, attack) -> None:
    x, y = images(9)
    model, seen = mlp(), []
    results = [attack(model, x, y, EPS, seed=1) for _ in range(2)]
    assert torch.equal(*results)
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    starts = []
    for seed in (1, 2):
        seen.clear()
        attack(model, x, y, EPS, seed=seed)
        starts.append(seen[1])
    assert torch.equal(seen[0], x)
    assert (starts[0] != starts[1]).flatten(1).any(1).all()
    if attack.restarts > 1:
        again = seen[attack.steps + 2]
        assert not (again[:, None] == starts[1]).all(2).any()  # another restart starts elsewhere


@every_attack
def test_images_that_are_wrong_already_are_attacked_too(mlp, images, attack) -> None:
    x, y = images(40, classes=5, dtype=torch.float64)
    model = mlp(classes=5, dtype=torch.float64)
    found = attack(model, x, y, EPS)
    before = wrong(model, x, y)
    assert before.any()
    assert not before.all()
    assert wrong(model, found, y)[before].all()
    aim = model(x).argmax(1)
    loss = LOSSES[attack.loss] if isinstance(attack, APGD) else lambda logits, y: targeted_dlr(logits, y, aim)
    rise = (loss(model(found), y) - loss(model(x), y))[before]
    assert (rise > -1e-12).all()
    assert (rise > 0).float().mean() > 0.5  # DLR is flat where the true class ranks third


@every_attack
def test_no_worse_than_the_clean_image_nor_than_a_shorter_call(mlp, images, attack) -> None:
    x, y = images(40, classes=5, dtype=torch.float64)
    model = mlp(classes=5, dtype=torch.float64)
    fewer = type(attack)(**{**attack.parameters, "restarts": 1})
    results = [x, fewer(model, x, y, 0.03), attack(model, x, y, 0.03)]
    loss = LOSSES[attack.loss] if isinstance(attack, APGD) else LOSSES["margin"]
    falls = [wrong(model, z, y) for z in results]
    values = [loss(model(z), y).detach() for z in results]
    for k in (0, 1):
        assert (falls[k + 1] | ~falls[k]).all()
        if isinstance(attack, APGD):
            assert (values[k + 1] - values[k])[falls[k] == falls[k + 1]].min() > -1e-12


def test_only_images_that_are_still_right_take_part_again(mlp, images) -> None:
    x, y = images(40, classes=5, dtype=torch.float64)
    model, steps = mlp(classes=5, dtype=torch.float64), 10
    plain, counting = APGD(steps=steps)(model, x, y, 0.03), Counting(model)
    left = int((~wrong(model, plain, y)).sum())
    assert 0 < left < 40
    APGD(steps=steps, restarts=2)(counting, x, y, 0.03)
    assert counting.sizes == [40] * (steps + 2) + [left] * (steps + 1)
    first, counting = APGDTargeted(steps=steps, targets=1)(model, x, y, 0.03), Counting(model)
    left = int((~wrong(model, first, y)).sum())
    APGDTargeted(steps=steps, targets=2)(counting, x, y, 0.03)
    assert counting.sizes == [40] * (steps + 2) + [left] * (steps + 1)


def test_a_call_ends_when_all_are_fooled(mlp, images) -> None:
    x, y = images(6)
    counting = Counting(mlp())
    APGD(steps=5, restarts=50)(counting, x, y, 1)
    assert len(counting.sizes) < 50


@pytest.mark.parametrize("classes", [4, 6])
def test_targets_are_the_likeliest_wrong_classes_in_turn(classes) -> None:
    """Pixel k is logit k: an image moves up in its target's pixel, and down in those of the third and fourth largest."""

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 100 * x + 0

    x = torch.linspace(0.8, 0.2, classes, dtype=torch.float64)[None].repeat(2, 1)
    y, order = torch.tensor([0, 2]), [[1, 2, 3, 4, 5], [0, 1, 3, 4, 5]]
    seen = []
    model = Plain()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    APGDTargeted(steps=3)(model, x, y, 1e-3)
    # the second image is wrong when clean and takes part in the first round only: one clean pass, then 4 passes a round
    assert [len(z) for z in seen] == [2] * 5 + [1] * 4 * (classes - 2)
    for number in range(classes - 1):
        last = seen[4 * number + 4]
        for row in range(len(last)):
            target = order[row][number]
            assert last[row, target] - x[row, target] == pytest.approx(1e-3)
        for other in {2, 3} - {order[0][number]}:
            assert last[0, other] - x[0, other] == pytest.approx(-1e-3)


@every_attack
def test_a_model_without_gradient(images, assert_within, attack) -> None:
    x, y = images(8, classes=4)
    found = attack(Flat(), x, y, EPS)
    assert_within(found, x, EPS)
    assert torch.equal(found, x)  # all images are as good: the clean one is the earliest


@every_attack
def test_logits_without_a_graph_are_refused(mlp, images, attack) -> None:
    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mlp()(x.detach())

    x, y = images(3)
    model = Detached()
    with pytest.raises(ValueError, match="the logits do not depend on the images"):
        attack(model.requires_grad_(False), x, y, EPS)


@every_attack
def test_logits_of_another_dtype(mlp, images, assert_within, attack) -> None:
    class Cast(nn.Module):
        def __init__(self, to: torch.dtype) -> None:
            super().__init__()
            self.inner, self.to_dtype = mlp(), to

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.float()).to(self.to_dtype)

    for images_are, logits_are in ((torch.float64, torch.float32), (torch.float32, torch.float64), (torch.float32, torch.bfloat16)):
        x, y = images(9, dtype=images_are)
        assert_within(attack(Cast(logits_are), x, y, EPS), x, EPS)


@pytest.mark.parametrize("classes", [2, 3])
def test_targeted_needs_four_classes(mlp, images, classes) -> None:
    x, y = images(3, classes=classes)
    with pytest.raises(ValueError, match=rf'needs at least 4 classes, the model has {classes}: use APGD with loss="margin"'):
        APGDTargeted(steps=2)(mlp(classes=classes), x, y, EPS)


def test_dlr_needs_three_classes(mlp, images) -> None:
    x, y = images(3, classes=2)
    with pytest.raises(ValueError, match='at least 3 classes, the model has 2: use loss="margin"'):
        APGD(steps=2, loss="dlr")(mlp(classes=2), x, y, EPS)


@pytest.mark.parametrize("attack", [APGD, APGDTargeted])
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"restarts": 1.0}, "restarts must be a whole number, 1 or more, got 1.0"),
        ({"rho": 0}, "rho must be a number between 0 and 1, got 0"),
        ({"rho": 1}, "rho must be a number between 0 and 1, got 1"),
        ({"rho": float("nan")}, "rho must be a number between 0 and 1, got nan"),
        ({"rho": "0.5"}, "rho must be a number between 0 and 1, got '0.5'"),
        ({"rho": True}, "rho must be a number between 0 and 1, got True"),
        ({"batch_size": 0}, "batch_size must be a whole number, 1 or more, got 0"),
    ],
)
def test_bad_options(attack, options, match) -> None:
    with pytest.raises(ValueError, match=match):
        attack(**options)


def test_bad_options_of_one_of_them() -> None:
    with pytest.raises(ValueError, match="loss must be one of ce, margin, dlr, got 'targeted'"):
        APGD(loss="targeted")
    with pytest.raises(ValueError, match="targets must be a whole number, 1 or more, got 0"):
        APGDTargeted(targets=0)


def test_parameters() -> None:
    assert APGD().parameters == {"steps": 100, "restarts": 1, "loss": "ce", "rho": 0.75}
    assert APGDTargeted().parameters == {"steps": 100, "restarts": 1, "targets": 9, "rho": 0.75}
    assert (APGD.name, APGDTargeted.name) == ("apgd", "apgd-t")
    assert repr(APGD(loss="dlr")) == "APGD(steps=100, restarts=1, loss='dlr', rho=0.75, batch_size=256)"


def test_random_calls(mlp, images, assert_within, drawn_seed) -> None:
    generator = torch.Generator().manual_seed(drawn_seed)

    def choose(*among):
        return among[int(torch.randint(len(among), (), generator=generator))]

    for _ in range(25):
        dtype, classes, n = choose(torch.float32, torch.float64), choose(2, 3, 4, 7), choose(1, 2, 5, 11)
        options = {"steps": choose(1, 2, 5, 23), "restarts": choose(1, 3), "rho": choose(0.1, 0.75, 0.99), "batch_size": choose(1, 3, 256)}
        targeted = classes >= 4 and choose(True, False)
        loss = choose("ce", "margin") if classes == 2 else choose("ce", "margin", "dlr")
        attack = APGDTargeted(**options, targets=choose(1, 2, 9)) if targeted else APGD(**options, loss=loss)
        x, y = images(n, choose((12,), (3, 2, 2), (1, 3, 4)), classes, dtype, seed=choose(0, 1, 2))
        eps = choose(1e-7, 1e-6, 1 / 255, 0.2, torch.rand(n, generator=generator))
        model = mlp(classes=classes, dtype=dtype, seed=choose(0, 1))
        found = attack(model, x, y, eps, seed=choose(0, 2**63 - 1))
        assert_within(found, x, eps)
        assert (wrong(model, found, y) | ~wrong(model, x, y)).all(), f"seed {drawn_seed}: {attack}"
