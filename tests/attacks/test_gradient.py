import pytest
import torch
from torch import nn

from qarmor.attacks import FGSM, LOSSES, PGD


class Counting(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        return self.inner(x)


class Valley(nn.Module):
    """Two classes; the margin of class 0 is lowest a little beside the start and rises beyond, so the last iterate is not the best."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bump = 1 - 50 * (x - 0.53).square().sum(1)
        return torch.stack([torch.zeros_like(bump), bump - 0.9], dim=1)


def linear(classes: int, dtype: torch.dtype = torch.float64) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(12, classes).to(dtype)


@pytest.mark.parametrize("eps", [1e-6, 1 / 255, 0.1, 0.5])
@pytest.mark.parametrize("attack", [PGD(steps=10), PGD(steps=10, loss="margin"), FGSM(), FGSM(loss="margin")], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_form_of_a_linear_model(images, attack, eps, dtype) -> None:
    """Two classes: the loss rises with (w_wrong - w_true) x, so the optimum is x + eps sign(w_wrong - w_true), clipped to the box."""
    x, y = images(20, classes=2, dtype=dtype)
    model = linear(2, dtype)
    direction = (model.weight[1 - y] - model.weight[y]).sign().detach()
    expected = (x.double() + eps * direction).clamp(0, 1)
    found = attack(model, x, y, eps)
    if dtype == torch.float32 and eps < 1e-5:
        pytest.skip("float32 losses cannot tell such images apart; the bounds are tested elsewhere")
    # in float32, images a thousandth of eps from the optimum can have the very same loss, and the earliest of equals is kept
    slack = 1e-9 * eps if dtype == torch.float64 else 1e-3 * eps + 1.2e-7
    assert (found.double() - expected).abs().max() <= slack
    reached, best = (nn.functional.cross_entropy(model(z.to(dtype)), y, reduction="none") for z in (found, expected))
    assert (reached >= best - 1e-6).all()


def test_fgsm_is_one_step_of_eps_on_the_sign(mlp, images) -> None:
    x, y = images(30, (3, 2, 2), dtype=torch.float64)
    model, eps = mlp(dtype=torch.float64), 0.01
    z = x.clone().requires_grad_()
    grad = torch.autograd.grad(nn.functional.cross_entropy(model(z), y), z)[0]
    step = (x + eps * grad.sign()).clamp(0, 1)
    found = FGSM()(model, x, y, eps)
    assert (found - step).abs().max() < 1e-15
    assert torch.equal(found, PGD(steps=1, step_size=eps, random_start=False)(model, x, y, eps))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("eps", [1e-6, 1 / 255, 0.1, 0.3])
def test_more_effort_is_no_worse(mlp, images, loss, eps) -> None:
    x, y = images(40, classes=5, dtype=torch.float64)
    model = mlp(classes=5, dtype=torch.float64)
    tried = [x, FGSM(loss=loss)(model, x, y, eps), PGD(steps=20, loss=loss, restarts=5)(model, x, y, eps)]
    losses = [LOSSES[loss](model(z), y).detach() for z in tried]
    wrong = [model(z).argmax(1) != y for z in tried]
    for less, more in ((0, 1), (1, 2), (0, 2)):
        assert wrong[less].sum() <= wrong[more].sum()
        same = wrong[less] == wrong[more]  # an image may fall at a lower loss
        assert losses[less][same].mean() <= losses[more][same].mean() + 1e-12
    assert losses[0].mean() < losses[2].mean()


def test_restarts_contain_the_first_start(images) -> None:
    class Waves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wave = (40 * x).sin().sum(1)
            return torch.stack([torch.zeros_like(wave), wave - 100], dim=1)

    x, y = images(30, classes=1)
    losses = [LOSSES["margin"](Waves()(PGD(steps=2, loss="margin", restarts=r)(Waves(), x, y, 0.2)), y) for r in (1, 2, 10)]
    assert (losses[0] <= losses[1]).all()
    assert (losses[1] <= losses[2]).all()
    assert (losses[1] > losses[0]).any()
    assert (losses[2] > losses[1]).sum() > 10  # every image gets all restarts


def test_the_best_iterate_is_returned_not_the_last() -> None:
    x, y = torch.full((2, 1), 0.5, dtype=torch.float64), torch.tensor([0, 0])
    found = PGD(steps=3, step_size=0.03, random_start=False)(Valley(), x, y, 0.2)
    assert torch.allclose(found, torch.full_like(x, 0.53))


def test_the_last_iterate_counts() -> None:
    x, y = torch.full((2, 1), 0.5, dtype=torch.float64), torch.tensor([0, 0])
    assert torch.allclose(PGD(steps=1, step_size=0.02, random_start=False)(Valley(), x, y, 0.2), torch.full_like(x, 0.52))


def test_the_clean_image_is_a_candidate() -> None:
    x, y = torch.full((3, 1), 0.53, dtype=torch.float64), torch.tensor([0, 0, 0])  # the top of the hill
    for attack in (PGD(steps=4, step_size=0.07), FGSM(), PGD(random_start=False)):
        assert torch.equal(attack(Valley(), x, y, 0.2), x)


@pytest.mark.parametrize(
    ("attack", "passes"), [(FGSM(), 2), (PGD(steps=5, random_start=False), 6), (PGD(steps=5), 7), (PGD(steps=5, restarts=3), 19)], ids=repr
)
def test_no_pass_is_wasted(mlp, images, attack, passes) -> None:
    x, y = images(3)
    model = Counting(mlp())
    attack(model, x, y, 0.1)
    assert model.images == 3 * passes
    attack(model, x, y, 0)
    assert model.images == 3 * (passes + 1)


def test_step_size_is_in_pixels_and_by_default_relative() -> None:
    x, y = torch.full((2, 12), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    eps = torch.tensor([0.1, 0.2], dtype=torch.float64)
    model = linear(2)
    for attack, moved in ((PGD(steps=2, step_size=0.03, random_start=False), [0.06, 0.06]), (PGD(steps=10, random_start=False), [0.1, 0.2])):
        assert torch.allclose((attack(model, x, y, eps) - x).abs().amax(1), torch.tensor(moved, dtype=torch.float64))
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    PGD(steps=10, random_start=False)(model, x, y, eps)
    assert torch.allclose((seen[1] - seen[0]).abs().amax(1), eps)  # the first step crosses the ball


def test_default_steps_fall_from_eps_to_its_last_part() -> None:
    """On a loss whose gradient turns at every step, the moves are eps, 3/4 eps, 1/2 eps, 1/4 eps."""

    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def forward(self, x):
            self.seen.append(x[0, 0].item())
            slope = 1.0 if len(self.seen) % 2 else -1.0
            return torch.stack([torch.zeros_like(x[:, 0]), slope * x[:, 0]], 1)

    model = Turning()
    attack = PGD(steps=4, random_start=False, loss="margin")
    attack(model, torch.full((1, 1), 0.5, dtype=torch.float64), torch.tensor([0]), 0.1)
    moves = [after - before for before, after in zip(model.seen, model.seen[1:], strict=False)]
    assert moves == pytest.approx([0.1, -0.075, 0.05, -0.025])


def test_random_starts_fill_the_cube(images) -> None:
    x, y = torch.full((50, 12), 0.5), torch.zeros(50, dtype=torch.int64)
    seen = []
    model = linear(2, torch.float32)
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    PGD(steps=1, restarts=2)(model, x, y, 0.2)
    clean, first, _, second, _ = seen
    assert torch.equal(clean, x)
    for start in (first - x, second - x):
        assert start.abs().max() > 0.19
        assert abs(start.mean()) < 0.02
        assert abs(start.std() - 0.2 / 3**0.5) < 0.01
    assert not torch.equal(first, second)
    assert len(first[:, 0].unique()) == 50


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"steps": 2.0}, "steps must be a whole number, 1 or more, got 2.0"),
        ({"restarts": True}, "restarts must be a whole number, 1 or more, got True"),
        ({"loss": "mse"}, "loss must be one of ce, margin, dlr, got 'mse'"),
        ({"loss": None}, "loss must be one of ce, margin, dlr, got None"),
        ({"random_start": 1}, "random_start must be True or False, got 1"),
        ({"step_size": 0}, "step_size must be a positive number, or None for .*, got 0"),
        ({"step_size": float("nan")}, "step_size must be a positive number, .* got nan"),
        ({"step_size": float("inf")}, "step_size must be a positive number, .* got inf"),
        ({"step_size": "0.1"}, "step_size must be a positive number, .* got '0.1'"),
        ({"restarts": 2, "random_start": False}, "restarts=2 with random_start=False repeats the same attack"),
    ],
)
def test_bad_options(options, match) -> None:
    with pytest.raises(ValueError, match=match):
        PGD(**options)


def test_fgsm_checks_its_loss() -> None:
    with pytest.raises(ValueError, match="loss must be one of ce, margin, dlr, got 'mse'"):
        FGSM(loss="mse")


def test_options_are_keyword_only_attributes() -> None:
    attack = PGD(steps=7, step_size=0.1, loss="margin", random_start=False, restarts=1, batch_size=9)
    assert attack.parameters == {"steps": 7, "step_size": 0.1, "loss": "margin", "random_start": False, "restarts": 1}
    assert (attack.steps, attack.step_size, attack.loss, attack.random_start, attack.restarts, attack.batch_size) == (7, 0.1, "margin", False, 1, 9)
    assert FGSM().parameters == {"loss": "ce"}
    assert repr(PGD()) == "PGD(steps=40, step_size=None, loss='ce', random_start=True, restarts=1, batch_size=256)"
    with pytest.raises(TypeError):
        PGD(7)
    with pytest.raises(AttributeError):
        attack.steps = 8


def test_equal_by_value() -> None:
    assert PGD(steps=3) == PGD(steps=3)
    assert PGD(steps=3) != PGD(steps=4)
    assert len({PGD(), PGD(), FGSM(), FGSM(loss="margin")}) == 3


def test_dlr_on_two_classes(mlp, images) -> None:
    x, y = images(3, classes=2)
    for attack in (FGSM(loss="dlr"), PGD(steps=1, loss="dlr")):
        with pytest.raises(ValueError, match='the model has 2: use loss="margin"'):
            attack(mlp(classes=2), x, y, 0.1)
