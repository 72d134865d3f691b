"""What every attack promises, tried on each of ours with good input."""

import copy
import json

import pytest
import torch
from torch import nn

from qarmor import attacks
from qarmor.attacks import LOSSES, PGD
from qarmor.types import Attack

EPS = [1e-6, 1 / 255, 0.1]


class Noisy(nn.Module):
    """Consumes torch's global random numbers in every call, in eval mode, too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        return logits + torch.randn_like(logits.detach())


def test_meets_the_protocol(make) -> None:
    attack = make()
    assert isinstance(attack, Attack)
    assert attack.name in attacks.names()
    assert json.loads(json.dumps(attack.parameters)) == attack.parameters
    assert "batch_size" not in attack.parameters
    assert eval(repr(attack), vars(attacks)) == attack


def own_loss(attack: Attack) -> str:
    """What it ranks images by: suites and attacks without such a choice by the margin."""
    return attack.parameters.get("loss", "margin")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
@pytest.mark.parametrize("eps", EPS)
def test_within_the_ball_and_the_box(make, mlp, images, assert_within, eps, shape, dtype) -> None:
    x, y = images(9, shape, dtype=dtype)
    attack = make(batch_size=4)
    found = attack(mlp(dtype=dtype), x, y, eps)
    assert_within(found, x, eps)
    if attack.name in ("pgd", "fgsm", "apgd", "autoattack") and own_loss(attack) != "dlr":  # whose gradient may be zero
        assert (found != x).flatten(1).any(1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_eps_per_image(make, mlp, images, assert_within, dtype) -> None:
    x, y = images(7, (3, 2, 2))
    eps = torch.tensor([0, 1e-6, 1 / 255, 0.01, 0.1, 0.3, 0], dtype=dtype)
    attack, model = make(batch_size=3), mlp()
    found = attack(model, x, y, eps)
    assert_within(found, x, eps)
    assert torch.equal(found[[0, 6]], x[[0, 6]])
    alone = attack(model, x, y, eps[4].item())
    assert torch.allclose(found[4], alone[4], atol=1e-6)


@pytest.mark.parametrize("eps", [0, 0.0, torch.zeros(5)])
def test_eps_zero_returns_the_images(make, mlp, images, eps) -> None:
    x, y = images(5)
    found = make()(mlp(), x, y, eps)
    assert torch.equal(found, x)
    assert found.data_ptr() != x.data_ptr()


def test_eps_above_one_is_the_whole_box(make, mlp, images) -> None:
    x, y = images(5)
    assert torch.equal(make()(mlp(), x, y, 1e300), make()(mlp(), x, y, 1))


@pytest.mark.parametrize("eps", EPS)
def test_batch_size_changes_rounding_only(make, mlp, images, eps) -> None:
    x, y = images(20, (3, 2, 2), dtype=torch.float64)
    model = mlp(dtype=torch.float64)
    found = [make(batch_size=size)(model, x, y, eps, seed=5) for size in (1, 7, 20, 256)]
    for other in found[1:]:
        assert (found[0] - other).abs().max() < 1e-9


@pytest.mark.parametrize("eps", EPS)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_never_worse_than_clean_image_by_image(make, mlp, images, eps, classes) -> None:
    attack = make()
    if classes < 4 and attack.name == "apgd-t":
        pytest.skip("needs four classes")
    if classes == 2 and own_loss(attack) == "dlr":
        pytest.skip("needs three classes")
    x, y = images(40, classes=classes, dtype=torch.float64)
    model = mlp(classes=classes, dtype=torch.float64)
    before, after = model(x), model(attack(model, x, y, eps))
    was_wrong, is_wrong = before.argmax(1) != y, after.argmax(1) != y
    assert was_wrong.any()
    assert not was_wrong.all()
    assert (is_wrong | ~was_wrong).all()
    if attack.name == "apgd-t":
        return  # its loss has a target of its own for each image
    loss = LOSSES[own_loss(attack)]
    rise = (loss(after, y) - loss(before, y)).detach()
    same = was_wrong == is_wrong  # an image may fall from right to wrong at a lower loss
    assert (rise[same] > -1e-12).all()
    assert (rise[was_wrong] > 0).any()  # images that were wrong already are attacked, too


def test_same_call_same_result_other_seed_other_start(mlp, images) -> None:
    x, y = images(6)
    model, attack = mlp(), PGD(steps=1, step_size=1e-4)
    assert torch.equal(attack(model, x, y, 0.1, seed=1), attack(model, x, y, 0.1, seed=1))
    assert not torch.equal(attack(model, x, y, 0.1, seed=1), attack(model, x, y, 0.1, seed=2))


def test_global_random_numbers_are_restored(make, mlp, images) -> None:
    x, y = images(6)
    model = Noisy(mlp())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = make()(model, x, y, 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(make()(model, x, y, 0.1), first)  # and do not matter, even to a model that draws from them


def test_global_random_numbers_are_restored_after_an_error(make, mlp, images) -> None:
    x, y = images(3)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="not finite"):
        make()(Noisy(nn.Sequential(mlp(), Scaled(torch.nan))), x, y, 0.1)
    assert torch.equal(torch.get_rng_state(), before)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Recorder(nn.Module):
    """Notes whether any part was in training mode, and raises on the call with number ``fails_at``."""

    def __init__(self, inner: nn.Module, fails_at: int = 0) -> None:
        super().__init__()
        self.inner, self.fails_at, self.calls, self.trained = inner, fails_at, 0, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.trained |= any(module.training for module in self.modules())
        if self.calls == self.fails_at:
            raise RuntimeError("out of order")
        return self.inner(x)


@pytest.mark.parametrize("fails_at", [0, 2])
def test_modes_are_restored_one_by_one(make, images, fails_at) -> None:
    x, y = images(9, classes=3)
    model = Recorder(nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)), fails_at)
    model.train()
    model.inner[1].eval()  # a frozen batch norm in a model that trains
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    if fails_at:
        with pytest.raises(RuntimeError, match="out of order"):
            make(batch_size=4)(model, x, y, 0.1)
    else:
        make(batch_size=4)(model, x, y, 0.1)
    assert model.calls > 1
    assert not model.trained
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_an_eval_model_with_a_part_in_training_mode(mlp, images) -> None:
    x, y = images(3)
    model = Recorder(nn.Sequential(mlp(), nn.Dropout(0.5).train())).eval()
    model.inner[1].train()
    PGD(steps=1)(model, x, y, 0.1)
    assert not model.trained
    assert model.inner[1].training


def test_parameters_are_untouched(make, mlp, images) -> None:
    x, y = images(5)
    model = mlp()
    first, *rest = model.parameters()
    first.requires_grad_(False)
    rest[0].grad = torch.full_like(rest[0], 7)
    make()(model, x, y, 0.1)
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * len(rest)
    assert first.grad is None
    assert (rest[0].grad == 7).all()
    assert all(p.grad is None for p in rest[1:])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_inside_no_grad_and_inference_mode(make, mlp, images, context) -> None:
    x, y = images(5)
    expected = make()(mlp(), x, y, 0.1)
    model = mlp()
    with context():
        found = make()(model, x * 1, y * 1, 0.1)
        assert not torch.is_grad_enabled()
    assert torch.equal(found, expected)


def test_result_has_no_graph_and_input_is_untouched(make, mlp, images) -> None:
    x, y = images(5)
    x.requires_grad_()
    before = x.detach().clone()
    found = make()(mlp(), x, y, 0.1)
    assert not found.requires_grad
    assert found.grad_fn is None
    assert torch.equal(x, before)
    assert x.grad is None


def test_empty_batch(make, mlp) -> None:
    x, y = torch.zeros(0, 3, 2, 2), torch.zeros(0, dtype=torch.int64)
    for eps in (0.1, torch.zeros(0)):
        assert make()(mlp(), x, y, eps).shape == x.shape


def test_layers_that_work_in_place(make, mlp, images, assert_within) -> None:
    class InPlace(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.sub_(0.5).mul_(4))

    class Apart(InPlace):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner((x - 0.5) * 4)

    x, y = images(5)
    found = make()(InPlace(mlp()), x, y, 0.1)
    assert_within(found, x, 0.1)
    assert torch.equal(found, make()(Apart(mlp()), x, y, 0.1))


def test_a_model_that_is_not_smooth(make, images, assert_within) -> None:
    class Steps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.relu().sum(1), (4 * x).round().sum(1) + 0 * x.sum(1), x.amax(1), x[:, 0]], dim=1)

    x, y = images(12, classes=3)
    for eps in EPS:
        assert_within(make()(Steps(), x, y, eps), x, eps)


def test_half_precision_logits(make, mlp, images, assert_within) -> None:
    class Half(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x).bfloat16()

    x, y = images(5)
    assert_within(make()(Half(mlp()), x, y, 0.1), x, 0.1)


def test_confident_logits(make, mlp, images, assert_within) -> None:
    x, y = images(5)
    assert_within(make()(nn.Sequential(mlp(), Scaled(1e20)), x, y, 0.1), x, 0.1)


def test_random_calls(mlp, images, assert_within, drawn_seed) -> None:
    generator = torch.Generator().manual_seed(drawn_seed)

    def choose(*among):
        return among[int(torch.randint(len(among), (), generator=generator))]

    for _ in range(25):
        dtype, classes, n = choose(torch.float32, torch.float64), choose(3, 4, 7), choose(1, 2, 5, 11)
        shape = choose((12,), (3, 2, 2), (1, 3, 4))
        options = {"loss": choose("ce", "margin", "dlr"), "batch_size": choose(1, 3, 256)}
        if choose(True, False):
            options |= {"steps": choose(1, 2, 5), "restarts": choose(1, 2), "step_size": choose(None, 1e-3, 0.7)}
        attack = attacks.build("pgd" if "steps" in options else "fgsm", **options)
        x, y = images(n, shape, classes, dtype, seed=choose(0, 1, 2))
        eps = choose(1e-7, 1e-6, 1 / 255, 0.2, torch.rand(n, generator=generator))
        model = mlp(classes=classes, dtype=dtype, seed=choose(0, 1))
        found = attack(model, x, y, eps, seed=choose(0, 2**63 - 1))
        assert_within(found, x, eps)
        loss = LOSSES[options["loss"]]
        with torch.no_grad():
            clean, now = model(x), model(found)
        same = (clean.argmax(1) != y) == (now.argmax(1) != y)
        slack = 1e-5 if dtype == torch.float32 else 1e-12
        assert (loss(now, y) - loss(clean, y))[same].ge(-slack).all(), f"seed {drawn_seed}: {attack}"
