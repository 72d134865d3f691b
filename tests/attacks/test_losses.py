import pytest
import torch

from qarmor.attacks import LOSSES
from qarmor.attacks.losses import ce, dlr, margin

LOGITS = torch.tensor([[3.0, 1.0, 0.5, -2.0], [0.0, 4.0, 2.0, 1.0], [1.0, 2.0, 3.0, 5.0]], dtype=torch.float64)
Y = torch.tensor([0, 2, 0])


def test_names() -> None:
    assert dict(LOSSES) == {"ce": ce, "margin": margin, "dlr": dlr}


def test_by_hand() -> None:
    assert torch.allclose(ce(LOGITS, Y), LOGITS.exp().sum(1).log() - LOGITS[torch.arange(3), Y])
    assert margin(LOGITS, Y).tolist() == [-2.0, 2.0, 4.0]
    assert torch.allclose(dlr(LOGITS, Y), torch.tensor([-2 / 2.5, 2 / 3, 4 / 3], dtype=torch.float64))


def test_dlr_of_three_classes_and_two() -> None:
    assert torch.allclose(dlr(torch.tensor([[3.0, 1.0, -1.0]]), torch.tensor([1])), torch.tensor([0.5]))
    with pytest.raises(ValueError, match='loss "dlr" needs at least 3 classes, the model has 2: use loss="margin"'):
        dlr(torch.zeros(1, 2), torch.tensor([0]))


def test_margin_of_two_classes() -> None:
    assert margin(torch.tensor([[1.0, 4.0], [1.0, 4.0]]), torch.tensor([0, 1])).tolist() == [3.0, -3.0]


@pytest.mark.parametrize("name", LOSSES)
def test_finite_with_huge_and_with_equal_logits(name: str) -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0, 3.0], [-1e30, 1e30, 1.0, 1e30], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = LOSSES[name](logits, torch.tensor([0, 0, 1]))
    assert loss.shape == (3,)
    assert loss.isfinite().all()
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name: str) -> None:
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, Y), LOGITS.clone().requires_grad_())


def test_dlr_and_margin_do_not_feel_the_scale() -> None:
    assert torch.allclose(dlr(LOGITS, Y), dlr(1e3 * LOGITS + 7, Y))
    assert torch.allclose(1e3 * margin(LOGITS, Y), margin(1e3 * LOGITS + 7, Y))


def test_margin_follows_one_class_among_equals() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0]], requires_grad=True)
    grad = torch.autograd.grad(margin(logits, torch.tensor([0])).sum(), logits)[0]
    assert sorted(grad[0].tolist()) == [-1.0, 0.0, 1.0]
