"""The final ``__call__``: bad arguments, bad models and bad attacks; and the tracker."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import FGSM, LOSSES, PGD, BaseAttack, Best, Oracle

X, Y = torch.full((3, 4), 0.5), torch.tensor([0, 1, 2])
MODEL = nn.Linear(4, 3)


class Returning(nn.Module):
    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


@dataclass(frozen=True, kw_only=True, repr=False)
class Foreign(BaseAttack):
    """An attack that returns whatever ``function`` makes of the images."""

    name: ClassVar[str] = "foreign"

    function: Callable[[Tensor], object]

    def _perturb(self, oracle, x, ball, streams):
        return self.function(x)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (X.numpy(), TypeError, "x must be a tensor, got ndarray"),
        (X.half(), TypeError, "x must be float32 or float64 .* got torch.float16"),
        ((X * 255).to(torch.uint8), TypeError, r"got torch.uint8: convert it, bytes as x.float\(\) / 255"),
        (X[0], ValueError, r"got shape \(4,\): a single image is x\[None\]"),
        (X - 0.5 - 3e-8, ValueError, r"within \[0, 1\], got values from -2\.9.*e-08"),
        (torch.nextafter(torch.ones(3, 4), torch.tensor(2.0)), ValueError, r"within \[0, 1\], .* to 1.0000001"),
        (X.index_fill(0, torch.tensor([1]), torch.nan), ValueError, "x has NaN or infinite"),
        (X.index_fill(0, torch.tensor([1]), torch.inf), ValueError, "x has NaN or infinite"),
    ],
)
def test_bad_images(x, error, match) -> None:
    with pytest.raises(error, match=match):
        FGSM()(MODEL, x, Y, 0.1)


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        ([0, 1, 2], TypeError, "y must be a tensor, got list"),
        (Y.int(), TypeError, r"y must be int64 labels, got torch.int32: use y.long\(\)"),
        (Y.float(), TypeError, "got torch.float32"),
        (Y[:2], ValueError, r"one label per image, shape \(3,\), got \(2,\)"),
        (Y[:, None], ValueError, r"got \(3, 1\)"),
        (Y - 1, ValueError, "y must hold labels from 0 on, got -1"),
        (Y + 1, ValueError, "y holds label 3, but the model has only 3 classes, counted from 0"),
    ],
)
def test_bad_labels(y, error, match) -> None:
    with pytest.raises(error, match=match):
        FGSM(batch_size=1)(MODEL, X, y, 0.1)
    with pytest.raises(error, match=match):
        FGSM()(MODEL, X, y, 0)


@pytest.mark.parametrize(
    ("eps", "error", "match"),
    [
        (-0.1, ValueError, "eps must be finite and at least 0, got -0.1"),
        (float("nan"), ValueError, "got nan"),
        (float("inf"), ValueError, "got inf"),
        (True, TypeError, "eps must be a number or a tensor with one radius per image, got True"),
        ("0.1", TypeError, "got '0.1'"),
        (None, TypeError, "got None"),
        (torch.tensor([True, True, False]), TypeError, "eps must hold real numbers, got torch.bool"),
        (torch.zeros(2), ValueError, r"one radius per image, shape \(3,\), got shape \(2,\)"),
        (torch.zeros(3, 1), ValueError, r"got shape \(3, 1\)"),
        (torch.tensor(0.1), ValueError, r"got shape \(\)"),
        (torch.tensor([0.1, -1.0, 0.1]), ValueError, "got -1.0"),
        (torch.tensor([0.1, 0.1, torch.nan]), ValueError, "got nan"),
    ],
)
def test_bad_eps(eps, error, match) -> None:
    with pytest.raises(error, match=match):
        FGSM()(MODEL, X, Y, eps)


def test_eps_may_be_a_numpy_number() -> None:
    expected = FGSM()(MODEL, X, Y, 0.25)
    assert torch.equal(FGSM()(MODEL, X, Y, np.float32(0.25)), expected)
    assert torch.equal(FGSM()(MODEL, X, Y, np.float64(0.25)), expected)


@pytest.mark.parametrize(
    ("seed", "error", "match"),
    [
        (True, TypeError, "seed must be an int, got True"),
        (1.0, TypeError, "seed must be an int, got 1.0"),
        (-1, ValueError, "seed must be between 0 and .* got -1"),
        (2**63, ValueError, "seed must be between 0 and"),
    ],
)
def test_bad_seed(seed, error, match) -> None:
    with pytest.raises(error, match=match):
        FGSM()(MODEL, X, Y, 0.1, seed=seed)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda x: x.tolist(), TypeError, "the model must return a float tensor of logits, it returned list"),
        (lambda x: x.long(), TypeError, r"it returned torch.int64 of shape \(3, 4\)"),
        (lambda x: x[:2], ValueError, r"must return logits \(3, K\) with K at least 2 for 3 images, it returned torch.float32 of shape \(2, 4\)"),
        (lambda x: x.sum(1), ValueError, r"of shape \(3,\)"),
        (lambda x: x[:, :1], ValueError, r"of shape \(3, 1\)"),
        (lambda x: x[..., None], ValueError, r"of shape \(3, 4, 1\)"),
        (lambda x: x / (x != x), ValueError, "the model's logits are not finite .* for 3 images, the first at position 0"),
        (lambda x: x.log() - torch.inf, ValueError, "the model's logits are not finite"),
    ],
)
def test_bad_model(function, error, match, eps) -> None:
    for attack in (FGSM(), PGD(steps=2)):
        with pytest.raises(error, match=match):
            attack(Returning(function), X, Y, eps)


def test_not_a_module() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        FGSM()(lambda x: x, X, Y, 0.1)


@pytest.mark.parametrize("function", [lambda x: x.detach() * 1, lambda x: torch.ones(len(x), 3, requires_grad=True) * 2])
def test_logits_that_do_not_depend_on_the_images(function) -> None:
    with pytest.raises(ValueError, match=r"the logits do not depend on the images \(detached graph\?\)"):
        PGD(steps=1)(Returning(function), X, Y, 0.1)


def test_bad_values_name_the_image() -> None:
    x = X.clone()
    x[2] = 0
    with pytest.raises(ValueError, match=r"the model's gradient for the images is not finite .* for 1 images, the first at position 2"):
        FGSM(batch_size=2)(Returning(lambda x: x.sqrt()), x, Y, 0.1)
    with pytest.raises(ValueError, match=r"the model's logits are not finite .* for 1 images, the first at position 2"):
        FGSM(batch_size=2)(Returning(lambda x: x.log()), x, Y, 0.1)


class BadFrom(nn.Module):
    """NaN logits, or NaN gradients, for images whose first value is above .5."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        bad = x[:, :1] > 0.5
        logits = torch.cat([x[:, :1], 1 - x[:, :1]], 1)
        if self.what == "logits":
            return torch.where(bad, torch.nan, logits)
        root = torch.sqrt(torch.where(bad, x[:, :1] - x[:, :1].detach(), 1.0))  # 0 with an infinite slope, or the constant 1
        return torch.cat([logits[:, :1] + root, logits[:, 1:]], 1)


@pytest.mark.parametrize("what", ["logits", "gradient"])
def test_subsets_of_subsets_report_to_the_image_of_the_batch(what) -> None:
    x = torch.tensor([[0.1], [0.2], [0.9], [0.3], [0.4]])
    oracle = Oracle(BadFrom(what), torch.zeros(5, dtype=torch.int64), 0)
    some = torch.tensor([1, 2, 3])
    inner = torch.tensor([False, True, True])
    part = oracle.subset(some).subset(inner)  # images 2 and 3 of the batch
    part.judge_with_gradient(x[some][inner], LOSSES["margin"])
    with pytest.raises(ValueError, match=rf"{what}.* not finite .* for 1 images, the first at position 102"):
        oracle.close(100)


def test_gradients_of_zero_are_no_error(images) -> None:
    x, y = images(3)
    assert torch.equal(PGD(random_start=False)(Returning(lambda x: 0 * x), x, y, 0.1), x)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_an_images_gradient_does_not_depend_on_its_batch(images, mlp, loss) -> None:
    x, y = images(6, dtype=torch.float64)
    model = mlp(dtype=torch.float64)
    together = Oracle(model, y, 3).judge_with_gradient(x, loss)
    alone = [Oracle(model, y[i : i + 1], 3).judge_with_gradient(x[i : i + 1], loss) for i in range(6)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.allclose(whole.double(), torch.cat(parts).double(), atol=1e-14)
    judged = Oracle(model, y, 3).judge(x, loss)
    assert torch.allclose(judged[0], together[0])
    assert torch.equal(judged[1], model(x).argmax(1) != y)


def test_losses_of_half_precision_logits_are_float32(images, mlp) -> None:
    x, y = images(6)
    model = nn.Sequential(mlp(), Returning(lambda z: z.bfloat16()))
    value, _, grad = Oracle(model, y, 3).judge_with_gradient(x, LOSSES["ce"])
    assert value.dtype == grad.dtype == torch.float32


@pytest.mark.parametrize("batch_size", [0, -1, 1.0, True, None, "7"])
def test_bad_batch_size(batch_size) -> None:
    for attack in (FGSM, PGD):
        with pytest.raises(ValueError, match=f"batch_size must be a whole number, 1 or more, got {batch_size!r}"):
            attack(batch_size=batch_size)


@pytest.mark.parametrize("eps", [1e-6, 1 / 255, 0.1, torch.tensor([0.0, 1e-6, 0.1, 1 / 255, 0.0])])
@pytest.mark.parametrize(
    "function",
    [lambda x: x + 5, lambda x: -x, lambda x: torch.full_like(x, -torch.inf), lambda x: x.double() + 1e-4, lambda x: (x + 1).requires_grad_()],
)
def test_foreign_images_are_projected(images, mlp, assert_within, function, eps) -> None:
    x, y = images(5, (3, 2, 2))
    found = Foreign(function=function, batch_size=2)(mlp(), x, y, eps)
    assert_within(found, x, eps)
    assert not found.requires_grad


def test_a_foreign_attack_cannot_reach_the_images_it_is_measured_from(images, mlp, assert_within) -> None:
    x, y = images(5)
    before = x.clone()
    assert_within(Foreign(function=lambda x: x.fill_(0.7))(mlp(), x, y, 0.01), before, 0.01)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x / 0 - x / 0, "attack 'foreign' returned NaN"),
        (lambda x: x[:1], r"attack 'foreign' must return images of shape \(3, 4\), it returned torch.float32 of shape \(1, 4\)"),
        (lambda x: None, r"attack 'foreign' must return images of shape \(3, 4\), it returned NoneType"),
    ],
)
def test_foreign_nonsense_is_refused(function, match) -> None:
    with pytest.raises(ValueError, match=match):
        Foreign(function=function)(MODEL, X, Y, 0.1)


def test_call_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match=r"Own must not override __call__, .*: write _perturb"):

        class Own(BaseAttack):
            def __call__(self, model, x, y, eps, *, seed=0):
                return x

    class Mixin:
        def __call__(self, model, x, y, eps, *, seed=0):
            return x

    with pytest.raises(TypeError, match="Mixed must not override __call__"):

        class Mixed(Mixin, BaseAttack):
            pass


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="_perturb"):
        BaseAttack()


def test_best() -> None:
    def candidate(value: float, *loss: float, wrong: tuple[bool, ...]) -> tuple[Tensor, Tensor, Tensor]:
        return torch.full((4, 1, 1, 1), value), torch.tensor(loss), torch.tensor(wrong)

    best = Best(torch.zeros(4, 1, 1, 1))
    best.update(*candidate(1, 5, 5, 5, -9, wrong=(False, False, True, False)))
    assert best.x.flatten().tolist() == [1, 1, 1, 1]  # any candidate beats an image that was not judged
    best.update(*candidate(2, 1, 5, 9, -9.5, wrong=(True, False, False, False)))
    assert best.x.flatten().tolist() == [2, 1, 1, 1]  # wrong beats correct, whatever the loss; the first of equals stays
    best.update(*candidate(3, 0.5, 6, 6, torch.nan, wrong=(True, False, True, False)))
    assert best.x.flatten().tolist() == [2, 3, 3, 1]  # then the loss; NaN never wins
    assert best.loss.tolist() == [1, 6, 6, -9]
    assert best.wrong.tolist() == [True, False, True, False]
