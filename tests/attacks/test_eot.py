"""Expectation over transformation, for models that are random."""

import copy

import pytest
import torch
from torch import Tensor

from qarmor.attacks import FGSM, PGD
from qarmor.attacks.eot import EOT, Expectation
from qarmor.models import QVC
from qarmor.types import Classifier, frozen
from tests.attacks.conftest import NoisyWeights

# Expectation


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
@pytest.mark.parametrize("samples", [1, 5])
def test_expectation_is_the_mean_of_calls_on_repeated_images(noisy, shape, samples) -> None:
    x = torch.rand(4, *shape, dtype=torch.float64)
    torch.manual_seed(1)
    found = Expectation(noisy, samples)(x)
    torch.manual_seed(1)
    noise = torch.randn(4 * samples, 3, 12, dtype=torch.float64)  # what the model draws for image 0 again and again, then for image 1, ...
    wanted = torch.stack([sum((noisy.weight + n) @ x[i].flatten() for n in noise[i * samples : (i + 1) * samples]) / samples for i in range(4)])
    assert (found - wanted).abs().max() < 1e-12


def test_its_gradient_is_unbiased(drawn_seed) -> None:
    """Squares of noisy images: E |A(x + sigma n)|^2 has the gradient 2 A^T A x, in closed form."""

    class Square(Classifier):
        stochastic = True

        def __init__(self) -> None:
            super().__init__()
            self.a = torch.randn(2, 5, 6, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("kij,bj->bki", self.a, x + 0.5 * torch.randn_like(x)).square().sum(2)

    torch.manual_seed(drawn_seed)
    model = Square()
    x = torch.rand(6, dtype=torch.float64).expand(3000, 6).clone().requires_grad_()
    margin = Expectation(model, 3)(x) @ torch.tensor([-1.0, 1.0], dtype=torch.float64)
    grads = torch.autograd.grad(margin.sum(), x)[0]
    wanted = 2 * (model.a[1].T @ model.a[1] - model.a[0].T @ model.a[0]) @ x[0].detach()
    error = (grads.mean(0) - wanted).abs() / (grads.std(0) / len(grads) ** 0.5)
    assert error.max() < 6, f"off by {error.max()} standard errors"


def test_its_spread_falls_with_the_samples(noisy) -> None:
    x = torch.rand(1, 12, dtype=torch.float64).expand(3000, 12)
    one, many = (Expectation(noisy, n)(x).var(0) for n in (1, 9))
    assert ((one / many - 9).abs() < 2).all()


def test_expectation_refuses_what_is_not_random(mlp) -> None:
    with pytest.raises(ValueError, match=r"^Sequential does not declare itself random, so there is nothing to average: .* stochastic = True$"):
        Expectation(mlp())
    with pytest.raises(ValueError, match="^QVC does not declare itself random"):
        Expectation(QVC(3, 1, 2))
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        Expectation(lambda x: x)


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "3"])
def test_samples(noisy, samples) -> None:
    for make in (lambda: Expectation(noisy, samples), lambda: EOT(PGD(), samples)):
        with pytest.raises(ValueError, match=f"samples must be a whole number, 1 or more, got {samples!r}"):
            make()


@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda x: x.tolist(), TypeError, "Strange must return a float tensor of logits, it returned list"),
        (lambda x: x[:1], ValueError, r"Strange must return logits \(8, K\) .* for 8 images, it returned torch.float32 of shape \(1, 12\)"),
        (lambda x: x[:, :1], ValueError, r"Strange must return logits \(8, K\) with K at least 2"),
    ],
)
def test_expectation_of_a_bad_model(function, error, match) -> None:
    class Strange(Classifier):
        stochastic = True

        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    with pytest.raises(error, match=match):
        Expectation(Strange(), 4)(torch.rand(2, 12))


def test_expectation_is_an_ordinary_random_classifier(noisy) -> None:
    model = Expectation(noisy.train(), 3)
    assert model.stochastic
    other = copy.deepcopy(model).float()
    assert other(torch.rand(2, 12)).dtype == torch.float32
    assert not model.eval().model.training
    still = frozen(model)
    assert isinstance(still, Expectation)
    assert still.samples == 3
    assert still.model is not noisy
    assert not any(p.requires_grad for p in still.parameters())
    assert noisy.weight.requires_grad


# EOT


def test_eot_finds_what_noise_hides(drawn_seed) -> None:
    """Noise four times the weights turns the sign of most single gradients; the best step, in closed form, is eps sign(w_wrong - w_true)."""
    torch.manual_seed(drawn_seed)
    model = NoisyWeights(torch.randn(2, 100), 4.0).eval()
    x, y, eps = torch.rand(64, 100) * 0.8 + 0.1, torch.randint(2, (64,)), 0.1
    direction = (model.weight[1 - y] - model.weight[y]).detach()
    best = eps * direction.abs().sum(1)
    share = {}
    for name, attack in {"plain": FGSM(loss="margin"), "eot": EOT(FGSM(loss="margin"), samples=256)}.items():
        moved = attack(model, x, y, eps, seed=drawn_seed % 1000) - x
        moves = moved.abs().flatten(1).amax(1) > 0  # where the luck of one draw did not leave the clean image
        share[name] = ((moved * direction).sum(1) / best)[moves].mean().item()
    assert share["plain"] < 0.4, share
    assert share["eot"] > 0.85, share


def test_eot_gives_the_same_for_the_same_seed(noisy) -> None:
    x, y = torch.rand(5, 12, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    attack = EOT(PGD(steps=3), samples=4)
    before = torch.get_rng_state()
    first = attack(noisy, x, y, 0.1, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(attack(noisy, x, y, 0.1, seed=3), first)
    assert not torch.equal(attack(noisy, x, y, 0.1, seed=4), first)


def test_eot_refuses_a_model_that_is_not_random(mlp, images) -> None:
    with pytest.raises(ValueError, match="there is nothing to average"):
        EOT(PGD())(mlp(), *images(3), 0.1)
