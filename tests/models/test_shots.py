"""A classifier measured a finite number of times: its distribution, its gradient, its random numbers."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats

from qarmor.circuits import reference
from qarmor.circuits.noise import Noise
from qarmor.models import QVC, Linear, Quadratic
from qarmor.models.shots import Shots
from qarmor.types import frozen


@pytest.fixture
def qvc(seed) -> QVC:
    return QVC(5, 3, 3, logit_scale=2.0, shape=(1, 5, 6))


@pytest.fixture
def x(seed) -> torch.Tensor:
    return torch.rand(4, 1, 5, 6)


def outcome_probabilities(qvc: QVC, x: torch.Tensor) -> torch.Tensor:
    """Of the outcomes of the wires that are read, from the gate-by-gate reference: ``(B, 2^K)``."""
    states = torch.nn.functional.pad(x.flatten(1).double(), (0, 2))
    psi = reference.evolve(states / states.norm(dim=1, keepdim=True), qvc.weights.detach())
    return psi.abs().square().reshape(len(x), 1 << qvc.classes, -1).sum(2)


def test_outcomes_are_those_of_the_state_jointly(qvc, x, seed):
    """One shot gives signs (z_0, z_1, z_2): their frequencies, all together, are the state's probabilities."""
    draws = 4000
    many = x[:2].repeat(draws, 1, 1, 1)
    signs = Shots(qvc, 1, seed)(many) / 2
    assert (signs.abs() == 1).all()
    outcomes = ((1 - signs) / 2) @ torch.tensor([4.0, 2.0, 1.0])
    wanted = outcome_probabilities(qvc, x[:2])
    for image in range(2):
        counts = np.bincount(outcomes[image::2].long().numpy(), minlength=8)
        assert stats.chisquare(counts, draws * wanted[image].numpy()).pvalue > 1e-6


def test_readouts_of_a_qvc_go_together_and_those_of_a_quadratic_do_not(seed):
    """Two wires in a state whose outcomes are always equal: (1, 0, 0, 1) / sqrt 2, in a circuit of no layers."""
    qvc = QVC(2, 0, 2, logit_scale=1.0, shape=(4,))
    bell = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).repeat(4000, 1)
    together = Shots(qvc, 1, seed)(bell)
    assert torch.equal(together[:, 0], together[:, 1])
    apart = Shots(qvc.freeze().quadratic(), 1, seed)(bell)
    for readouts in (together, apart):
        assert abs(float(readouts[:, 0].mean())) < 6 / math.sqrt(4000)
    assert abs(float((apart[:, 0] * apart[:, 1]).mean())) < 6 / math.sqrt(4000)


@pytest.mark.parametrize("kind", ["qvc", "quadratic", "noisy"])
@pytest.mark.parametrize("shots", [7, 10**4, 10**9])
def test_means_and_spreads(qvc, x, kind, shots, seed):
    model = {"qvc": qvc, "quadratic": qvc.freeze().quadratic(), "noisy": qvc.freeze(Noise("amplitude-damping", 0.05, "gate"))}[kind]
    exact = frozen(model)(x[:1]).double() / 2
    drawn = Shots(model, shots, seed)(x[:1].repeat(2000, 1, 1, 1)).double() / 2
    deviation = ((1 - exact**2) / shots).sqrt()
    assert ((drawn.mean(0) - exact) / deviation * math.sqrt(2000)).abs().max() < 6 + 1e-6 * math.sqrt(2000 * shots)
    if shots < 10**6:  # beyond, float32 rounds as coarsely as shots do
        assert (drawn.std(0) / deviation - 1).abs().max() < 0.12


def test_many_shots_are_exact_in_float64(qvc, x, seed):
    double = copy.deepcopy(qvc).double()
    out = Shots(double, 1 << 53, seed)(x.double())
    assert out.dtype == torch.float64
    assert (out - double(x.double())).abs().max() < 1e-6


def test_the_gradient_is_that_of_the_exact_logits(qvc, x, seed):
    cotangent = torch.randn(4, 3)
    wanted_from, got_from = x.clone().requires_grad_(), x.clone().requires_grad_()
    for model, images in ((qvc.freeze(), wanted_from), (Shots(qvc, 3, seed), got_from)):
        (model(images) * cotangent).sum().backward()
    assert torch.equal(wanted_from.grad, got_from.grad)
    assert wanted_from.grad.any()


@pytest.mark.parametrize("noisy", [False, True])
def test_a_seed_makes_the_sequence(qvc, x, noisy, seed):
    qvc, x = qvc.double(), x.double()  # so that a batch is rounded as its parts are, nearly
    model = qvc.freeze(Noise("bit-flip", 0.01)) if noisy else qvc
    one, two, other = Shots(model, 1000, seed), Shots(model, 1000, seed), Shots(model, 1000, seed + 1)
    state = torch.get_rng_state()
    first, second = one(x), one(x)
    assert not torch.equal(first, second)
    assert torch.equal(two(x), first)
    later = copy.deepcopy(two), frozen(two)
    assert torch.equal(two(x), second)
    assert all(torch.equal(model(x), second) for model in later), "a copy goes on where the original stood"
    assert not torch.equal(other(x), first)
    assert torch.equal(torch.get_rng_state(), state)
    parts = Shots(model, 1000, seed)
    assert torch.equal(torch.cat([parts(x[:1]), parts(x[1:])]), first), "a batch is its parts"


def test_without_a_seed_torch_gives_one(qvc, x):
    model = Shots(qvc, 1000)
    torch.manual_seed(3)
    first, second = model(x), model(x)
    torch.manual_seed(3)
    assert torch.equal(model(x), first)
    assert not torch.equal(first, second)


def test_it_is_random_and_has_nothing_to_train(qvc, x, seed):
    model = Shots(qvc, 10, seed)
    assert model.stochastic
    assert not any(p.requires_grad for p in model.parameters())
    before = frozen(model)
    with torch.no_grad():
        qvc.weights += 1
    assert torch.equal(model(x), before(x)), "training the QVC doesn't reach it"


def test_an_all_zero_image_has_zero_logits_and_gradient(qvc, seed):
    for model in (qvc, qvc.freeze().quadratic()):
        images = torch.rand(3, 1, 5, 6)
        images[1] = 0
        images.requires_grad_()
        out = Shots(model, 11, seed)(images)
        out.sum().backward()
        assert not out[1].any()
        assert out[0].any()
        assert not images.grad[1].any()
        assert Shots(model, 11, seed)(images[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((QVC(2, 1, 2), 0), ValueError, r"shots must be a whole number from 1 to 2\^53, got 0"),
        ((QVC(2, 1, 2), 1.5), ValueError, r"shots must be a whole number from 1 to 2\^53, got 1.5"),
        ((QVC(2, 1, 2), True), ValueError, r"shots must be a whole number from 1 to 2\^53, got True"),
        ((QVC(2, 1, 2), 1 << 54), ValueError, r"shots must be a whole number from 1 to 2\^53, got 18014398509481984"),
        ((QVC(2, 1, 2), 5, -1), ValueError, "seed must be a whole number, 0 or more, or None, got -1"),
        ((Linear((4,), 2), 5), TypeError, "model must be a QVC, frozen or not, or a Quadratic, got Linear: nothing else is measured"),
        ((Quadratic.control((4,), 2, normalise=False), 5), ValueError, "if it normalises and has a positive scale, got normalise=False, scale=64"),
        ((Quadratic(torch.zeros(2, 4, 4), 0.0), 5), ValueError, "positive scale, got normalise=True, scale=0"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Shots(*arguments)


def test_forms_that_are_no_observables_are_refused():
    model = Shots(Quadratic(1.5 * torch.eye(4).repeat(2, 1, 1), 3.0), 5)
    with pytest.raises(ValueError, match=r"the forms of this Quadratic give 1.5: only expectations in \[-1, 1\] are measured in shots"):
        model(torch.rand(2, 4))
