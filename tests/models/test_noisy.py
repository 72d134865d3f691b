"""QVC.freeze(noise=...): a Quadratic that everything takes like any other model."""

import copy

import pytest
import torch

from qarmor.attacks import PGD
from qarmor.circuits.noise import Noise
from qarmor.evaluation import craft, score
from qarmor.models import QVC, Quadratic
from qarmor.types import frozen

NONE = Noise("amplitude-damping", 0.0, "gate")
SHAPES = [(6, (1, 7, 7), "end"), (6, (1, 7, 7), "centre"), (6, (1, 5, 9), "centre"), (6, (40,), "centre"), (7, (2, 8, 8), "end"), (5, None, "end")]


@pytest.mark.parametrize(("qubits", "shape", "padding"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_it_is_the_frozen_qvc(qubits, shape, padding, dtype, seed):
    qvc = QVC(qubits, 4, 3, padding=padding, shape=shape).to(dtype)
    noisy, clean = qvc.freeze(NONE), qvc.freeze()
    assert isinstance(noisy, Quadratic)
    assert noisy.A.dtype == dtype
    assert not noisy.training
    assert not any(p.requires_grad for p in noisy.parameters())
    assert all(p.requires_grad for p in qvc.parameters())
    x = torch.rand(4, *(shape or (1 << qubits,)), dtype=dtype, requires_grad=True)
    cotangent = torch.randn(4, 3, dtype=dtype)
    out, wanted = noisy(x), clean(x)
    grads = [torch.autograd.grad((o * cotangent).sum(), x)[0] for o in (out, wanted)]
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    assert (out - wanted).abs().max() < tolerance
    assert (grads[0] - grads[1]).abs().max() < tolerance


def test_it_has_the_scale_and_the_noise(seed):
    qvc = QVC(4, 3, 2, logit_scale=7.0, shape=(1, 4, 4)).double()
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    noisy = qvc.freeze(Noise("global-depolarising", 0.1, "layer"))
    assert noisy.scale == 7
    assert (noisy(x) - 0.9**3 * qvc(x)).abs().max() < 1e-12
    damped = qvc.freeze(Noise("amplitude-damping", 0.25, "end"))
    assert (damped(x) - (0.75 * qvc(x) + 0.25 * 7)).abs().max() < 1e-12


def test_copies_and_frozen_copies_say_the_same(seed):
    noisy = QVC(4, 2, 2, shape=(1, 4, 4)).freeze(Noise("bit-flip", 0.01, "gate"))
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(frozen(noisy)(x), noisy(x))
    assert torch.equal(copy.deepcopy(noisy)(x), noisy(x))


def test_attacks_and_evaluators_take_it(tiny, seed):
    qvc = QVC.for_dataset(tiny, 3)
    noisy = qvc.freeze(Noise("depolarising", 0.02, "gate"))
    adversarials = craft({"noisy": noisy}, tiny.test, PGD(steps=3), 0.1, 0)
    assert (adversarials.x - tiny.test.x).abs().max() <= 0.1 + 1e-6
    rows = score({"noisy": noisy, "clean": qvc}, adversarials)
    assert {row.target for row in rows} == {"noisy", "clean"}


def test_what_is_no_noise_and_other_images_are_refused():
    qvc = QVC(4, 1, 2, shape=(1, 4, 4))
    with pytest.raises(TypeError, match="noise must be a qarmor.circuits.noise.Noise, got float"):
        qvc.freeze(0.1)
    with pytest.raises(ValueError, match=r"Quadratic was made for images of shape \(16,\), got a batch of shape \(2, 15\)"):
        qvc.freeze(NONE)(torch.rand(2, 1, 3, 5))
