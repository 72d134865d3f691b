"""FGSM and PGD beside Foolbox's, step by step: from the image, with steps of one length, both must ask the model about the same images."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from qarmor.attacks import FGSM, PGD
from qarmor.models import QVC

with warnings.catch_warnings():  # Foolbox 3.3.4 imports a name that SciPy has deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    foolbox = pytest.importorskip("foolbox", reason="Foolbox is not installed (extra: interop)")

EPS, STEPS, STEP = 0.1, 12, 0.02
SHAPES = [(12,), (3, 2, 2)]


class Notes(nn.Module):
    """Keeps every batch of images that the model was asked about."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        return self.inner(x)


def theirs(attack: object, model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """What a Foolbox attack returns: its last iterate."""
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)[1]


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


@pytest.fixture(params=["mlp", "qvc"])
def problem(request, mlp, images, drawn_seed):
    """Builds a model with images, and labels of which nine in ten are what it says."""

    def build(classes: int, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor, Tensor]:
        x, other = images(40, shape, classes, torch.float64, seed=drawn_seed)
        torch.manual_seed(drawn_seed)
        model = mlp(classes=classes, dtype=torch.float64, seed=drawn_seed)
        if request.param == "qvc":  # of small logits: where cross-entropy saturates, rounding decides the signs of its gradient
            model = QVC(max(4, classes), 2, classes, logit_scale=4.0, implementation="kron").double().freeze()
        y = model(x).argmax(1)
        y[::10] = other[::10]
        return model, x, y

    return build


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 10])
def test_pgd_visits_the_same_images(problem, classes, shape) -> None:
    model, x, y = problem(classes, shape)
    ours, peer = Notes(model).eval(), Notes(model).eval()
    found = PGD(steps=STEPS, step_size=STEP, random_start=False)(ours, x, y, EPS)
    last = theirs(foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False), peer, x, y, EPS)
    walk = [*peer.asked[:STEPS], last]  # Foolbox asks once more about its result
    assert len(ours.asked) == STEPS + 1
    worst = max((a - b).abs().max().item() for a, b in zip(ours.asked, walk, strict=True))
    assert worst < 1e-12, f"the walks part by {worst}"
    # of these images ours returns the best, Foolbox the last
    never_fooled = torch.stack([right(model, z, y) for z in walk]).all(0)
    assert torch.equal(right(model, found, y), never_fooled)
    assert (right(model, last, y) | ~never_fooled).all()
    assert not never_fooled.all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 10])
def test_fgsm_is_foolbox_s_wherever_it_helps(problem, classes, shape) -> None:
    model, x, y = problem(classes, shape)
    found, peer = FGSM()(model, x, y, EPS), theirs(foolbox.attacks.LinfFastGradientAttack(random_start=False), model, x, y, EPS)
    moved = (found != x).flatten(1).any(1)
    assert moved.any()
    assert (found - peer)[moved].abs().max() < 1e-12
    assert (right(model, x, y) <= right(model, peer, y))[~moved].all()  # where ours stays, the step would have undone an error or lowered the loss
    assert torch.equal(right(model, found, y), right(model, peer, y) & right(model, x, y))


def test_single_precision_leaves_the_same_images_robust(mlp, images) -> None:
    """Where rounding tips a sign the walks part, but hardly any image falls to one and not to the other."""
    x, _ = images(200, (3, 2, 2), 10)
    model = mlp(classes=10)
    y = model(x).argmax(1)
    found = PGD(steps=STEPS, step_size=STEP, random_start=False)(model, x, y, EPS)
    last = theirs(foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False), model, x, y, EPS)
    assert (right(model, found, y) != right(model, last, y)).sum() <= 2
    assert 10 < right(model, found, y).sum() < 190
