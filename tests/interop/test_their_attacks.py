"""Our networks, unchanged, under other people's attacks."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import PGD

EPS, STEPS = 0.15, 10


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def check(model: nn.Module, found: Tensor, images) -> int:
    """Within the ball, and fewer images are right than before. How many still are."""
    assert found.shape == images.x.shape
    assert found.dtype == torch.float32
    assert (found - images.x).abs().max() <= EPS + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    clean, left = right(model, images.x, images.y), right(model, found, images.y)
    assert clean.float().mean() > 0.7, "the network of this test is no good"
    assert left.sum() < 0.8 * clean.sum(), f"{left.sum()} of {clean.sum()} withstand"
    return int(left.sum())


def left_by_our_pgd(model: nn.Module, images) -> int:
    attack = PGD(steps=STEPS, step_size=EPS / 4, random_start=False)
    return int(right(model, attack(model, images.x, images.y, EPS), images.y).sum())


@pytest.fixture(autouse=True)
def untouched(network):
    """No library may change the network that it was handed."""
    state, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    wanted = [p.requires_grad for p in network.parameters()]
    yield
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == wanted


def test_foolbox(network, images, library) -> None:
    foolbox = library("foolbox")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=EPS / 4, steps=STEPS, random_start=False)
    _, found, fooled = attack(foolbox.PyTorchModel(network, bounds=(0, 1)), images.x, images.y, epsilons=EPS)
    left = check(network, found, images)
    assert torch.equal(~fooled, right(network, found, images.y))
    assert left - 2 <= left_by_our_pgd(network, images) <= left  # ours keeps the best image of the same walk


def test_art(network, images, library) -> None:
    evasion, classification = library("art.attacks.evasion"), library("art.estimators.classification")
    classifier = classification.PyTorchClassifier(
        network, nn.CrossEntropyLoss(), input_shape=tuple(images.x.shape[1:]), nb_classes=10, clip_values=(0, 1), device_type="cpu"
    )
    assert np.abs(classifier.predict(images.x.numpy()) - network(images.x).detach().numpy()).max() < 1e-4
    attack = evasion.ProjectedGradientDescent(classifier, norm=np.inf, eps=EPS, eps_step=EPS / 4, max_iter=STEPS, verbose=False)
    left = check(network, torch.from_numpy(attack.generate(images.x.numpy(), y=images.y.numpy())), images)
    assert left - 2 <= left_by_our_pgd(network, images) <= left


@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_pyautoattack(network, images, library, attack) -> None:
    autoattack = library("pyautoattack")
    suite = autoattack.AutoAttack(network, attacks=[attack], version="custom", device="cpu", eps=EPS, norm="Linf", seed=0)
    suite.apgd.n_restarts, suite.apgd.n_iter = 1, STEPS
    suite.apgd_targeted.n_iter, suite.apgd_targeted.n_target_classes = STEPS, 3
    suite.fab.n_restarts, suite.fab.n_iter, suite.fab.n_target_classes = 1, STEPS, 3
    suite.square.n_queries = 300
    with torch.random.fork_rng(devices=[]):
        check(network, suite.run_standard_evaluation(images.x, images.y, batch_size=len(images))[0], images)
