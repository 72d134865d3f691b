"""Several models as one."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import FGSM, PGD
from qarmor.attacks.ensemble import Ensemble
from qarmor.attacks.eot import EOT
from qarmor.attacks.joint import Pair
from qarmor.models import QVC, FrozenQVC
from qarmor.types import frozen


class Logits(nn.Module):
    """Whatever logits it was given, image by image, in order; they depend on the images so that a gradient exists."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)].to(x) + 0 * x.flatten(1).sum(1, keepdim=True)


class Returns(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_ensemble_is_the_log_of_the_mean_probability(classes, drawn_seed) -> None:
    generator = torch.Generator().manual_seed(drawn_seed)
    tables = [(10.0**i) * torch.randn(6, classes, generator=generator, dtype=torch.float64) for i in range(3)]
    found = Ensemble([Logits(table) for table in tables])(torch.rand(6, 4, dtype=torch.float64))
    wanted = np.mean(
        [
            np.exp(t - t.max(1, keepdims=True)) / np.exp(t - t.max(1, keepdims=True)).sum(1, keepdims=True)
            for t in (table.numpy() for table in tables)
        ],
        0,
    )
    assert np.abs(found.exp().numpy() - wanted).max() < 1e-12
    assert (found.exp().sum(1) - 1).abs().max() < 1e-12


def test_ensemble_of_one_or_of_equals_decides_as_the_member(mlp, images) -> None:
    x, _ = images(9)
    wanted = mlp()(x).log_softmax(1)
    for members in ([mlp()], [mlp(), mlp(), mlp()]):
        assert (Ensemble(members)(x) - wanted).abs().max() < 1e-5


def test_ensemble_gradients(mlp, images) -> None:
    x, _ = images(3, dtype=torch.float64)
    ensemble = Ensemble({"a": mlp(dtype=torch.float64), "b": mlp(dtype=torch.float64, seed=1)})
    assert torch.autograd.gradcheck(ensemble, (x.clamp(0.01, 0.99).requires_grad_(),))


def test_confident_members_keep_their_gradient(images) -> None:
    """Probabilities of float32 underflow at a distance of about 100; log-probabilities don't."""
    x, y = images(5, (6,), classes=3)
    weight = 1e4 * torch.eye(3, 6)
    ensemble = Ensemble([Returns(lambda x: x @ weight.T), Returns(lambda x: -(x @ weight.T).flip(1))])
    z = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(ensemble(z), y, reduction="none")
    grad = torch.autograd.grad(loss.sum(), z)[0]
    assert loss.isfinite().all()
    assert grad.isfinite().all()
    unsure = loss.detach() > 1
    assert unsure.any()
    assert (grad[unsure].abs().amax(1) > 1).all()


def test_ensemble_attacks_all_members_at_once(drawn_seed) -> None:
    """Members that look at other pixels: the gradient of each is zero on what the others see, and the ensemble's attack moves all of them."""
    generator = torch.Generator().manual_seed(drawn_seed)
    members = [Returns(lambda x, i=i: torch.stack([x[:, 4 * i : 4 * i + 4].sum(1), 4 - x[:, 4 * i : 4 * i + 4].sum(1)], 1)) for i in range(3)]
    x, y = 0.2 + 0.6 * torch.rand(8, 12, generator=generator), torch.randint(2, (8,), generator=generator)
    moved = (PGD(steps=5, random_start=False)(Ensemble(members), x, y, 0.1) - x) * (2 * y - 1)[:, None]
    assert (moved - 0.1).abs().max() < 1e-6


def test_frozen_ensemble(images) -> None:
    x, _ = images(4, (8,), classes=2)
    qvc = QVC(3, 2, 2, shape=(8,))
    ensemble = Ensemble({"qvc": qvc, "linear": nn.Linear(8, 2)})
    still = frozen(ensemble)
    assert isinstance(still, Ensemble)
    assert isinstance(still.members[0], FrozenQVC)
    assert still.names == ("qvc", "linear")
    assert not any(p.requires_grad for p in still.parameters())
    assert not still.training
    assert all(p.requires_grad for p in ensemble.parameters())
    assert (still(x) - ensemble(x)).abs().max() < 1e-4
    assert (copy.deepcopy(ensemble)(x) - ensemble(x)).abs().max() == 0
    assert len(ensemble.state_dict()) == len(qvc.state_dict()) + 2


def test_random_members_make_a_random_whole(noisy, mlp) -> None:
    assert Ensemble([mlp(classes=3), noisy]).stochastic
    assert not Ensemble([mlp(), QVC(3, 1, 2)]).stochastic
    assert Pair(noisy, mlp(classes=3)).stochastic
    assert not Pair(mlp(), mlp()).stochastic
    EOT(FGSM(), samples=2)(Ensemble([mlp(classes=3, dtype=torch.float64), noisy]), torch.rand(2, 12, dtype=torch.float64), torch.tensor([0, 1]), 0.1)


def test_members_that_work_in_place_do_not_disturb_the_others(mlp, images) -> None:
    x, _ = images(5)
    wanted = Ensemble([Returns(lambda x: mlp()(x - 0.5)), mlp()])(x)
    assert torch.equal(Ensemble([Returns(lambda x: mlp()(x.sub_(0.5))), mlp()])(x), wanted)


@pytest.mark.parametrize(
    ("models", "error", "match"),
    [
        ([], ValueError, "models must hold at least one model, got none"),
        ({}, ValueError, "at least one model"),
        (nn.ModuleList([nn.Linear(2, 2)]), TypeError, "models must be a mapping or a sequence of torch.nn.Modules, got ModuleList"),
        (nn.Linear(2, 2), TypeError, "got Linear"),
        ([nn.Linear(2, 2), "qvc200"], TypeError, "model must be a torch.nn.Module, got str"),
    ],
)
def test_ensemble_refuses(models, error, match) -> None:
    with pytest.raises(error, match=match):
        Ensemble(models)


def test_members_of_other_classes() -> None:
    x = torch.rand(2, 4)
    with pytest.raises(ValueError, match="member 'a' of the ensemble has 3 classes and member 'b' of the ensemble has 2"):
        Ensemble({"a": nn.Linear(4, 3), "b": nn.Linear(4, 2)})(x)
    with pytest.raises(ValueError, match="the first model of the pair has 3 classes and the second model of the pair has 2"):
        Pair(nn.Linear(4, 3), nn.Linear(4, 2))(x)
    with pytest.raises(ValueError, match=r"member 'b' of the ensemble must return logits \(2, K\) .* it returned torch.float32 of shape \(2, 1\)"):
        Ensemble({"a": nn.Linear(4, 3), "b": nn.Linear(4, 1)})(x)
