"""Quadratic forms and the normalisation before them."""

import torch

from qarmor.models.quadratic import l2_normalised


def _plainly_normalised(x):
    norm = x.norm(dim=1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1)


def test_normalising_has_the_gradients_of_the_plain_formula(seed):
    x = torch.rand(5, 7, dtype=torch.float64).requires_grad_()
    assert torch.allclose(l2_normalised(x), _plainly_normalised(x), atol=1e-15)
    cotangent = torch.randn(5, 7, dtype=torch.float64)
    wanted, got = (torch.autograd.grad((f(x) * cotangent).sum(), x)[0] for f in (_plainly_normalised, l2_normalised))
    assert (wanted - got).abs().max() < 1e-14
    assert torch.autograd.gradcheck(l2_normalised, x)
    assert torch.autograd.gradgradcheck(l2_normalised, x)


def test_a_zero_image_stays_zero_with_zero_gradient():
    x = torch.zeros(2, 3)
    x[1] = 1
    x.requires_grad_()
    out = l2_normalised(x)
    (grad,) = torch.autograd.grad((out * torch.arange(3.0)).sum(), x)
    assert not out[0].any()
    assert not grad[0].any()
    assert grad[1].any()
