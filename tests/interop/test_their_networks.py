"""Other people's networks, unchanged, under our attacks: those of the examples, made by ``package.module:factory``."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qarmor import models
from qarmor.attacks import FGSM, PGD
from qarmor.attacks.eot import EOT, Expectation
from qarmor.attacks.preflight import preflight
from qarmor.models import QVC
from qarmor.types import Images, frozen

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def from_the_examples(monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture
def few(digits) -> Images:
    """Four zeros and ones."""
    return digits.test[digits.test.y < 2][:4]


def codes(model: nn.Module, images: Images) -> list[str]:
    return [finding.check.code for finding in preflight(model, images.x, images.y, images=2)]


def check_gradient(model: nn.Module, images: Images) -> None:
    """The margin's gradient against central differences along random directions, inside the box."""
    x = (0.1 + 0.8 * images.x).requires_grad_()
    sign = 1 - 2 * images.y.double()

    def margins(x: Tensor) -> Tensor:
        logits = model(x).double()
        return sign * (logits[:, 1] - logits[:, 0])

    grad = torch.autograd.grad(margins(x).sum(), x)[0]
    assert (grad.flatten(1) != 0).any(1).all()
    for _ in range(3):
        step = 0.02 * torch.randn_like(x)
        with torch.no_grad():
            wanted = (margins(x + step) - margins(x - step)) / 2
        found = (grad * step).flatten(1).sum(1)
        assert (found - wanted).abs().max() < 0.03 * wanted.abs().max() + 1e-4, f"slopes {found}, by differences {wanted}"


def check_attacked(model: nn.Module, images: Images) -> None:
    """Every image's cross-entropy rises, nothing leaves the ball, and the network stays as it was."""
    before = copy.deepcopy(model.state_dict())
    found = PGD(steps=3)(model, images.x, images.y, 0.1)
    assert (found - images.x).abs().max() <= 0.1 + 1e-7
    with torch.no_grad():
        rise = [nn.functional.cross_entropy(model(x), images.y, reduction="none") for x in (images.x, found)]
    assert (rise[1] > rise[0]).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# PennyLane


@pytest.fixture
def pennylane(library):
    return library("pennylane")


def test_pennylane(pennylane, digits, few, seed) -> None:
    model = models.build("interop_pennylane:network", digits, seed=seed, layers=2)
    check_gradient(model, few)
    check_attacked(frozen(model), few)
    assert codes(frozen(model), few) == []


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
def test_pennylane_s_adjoint_gradients_are_refused(pennylane, digits, few, device) -> None:
    """They are NaN where a pixel is 0 (PennyLane 0.45), and NaN has no sign to follow."""
    model = models.build("interop_pennylane:network", digits, layers=2, device=device, diff_method="adjoint")
    assert (few.x == 0).flatten(1).any(1).all()
    for attack in (FGSM(), PGD(steps=2)):
        with pytest.raises(ValueError, match="the model's gradient for the images is not finite .* for 4 images, the first at position 0"):
            attack(model, few.x, few.y, 0.1)
    assert codes(model, few) == ["non-finite-gradient"]


def test_pennylane_and_our_circuit_are_attacked_alike(pennylane, images, seed) -> None:
    qml = pennylane
    ours = QVC(6, 3, 2).double().eval()

    @qml.qnode(qml.device("default.qubit", wires=6), interface="torch", diff_method="backprop")
    def circuit(inputs, weights):
        qml.AmplitudeEmbedding(inputs, wires=range(6), normalize=True)
        for layer in range(3):
            for q in range(6):
                qml.Rot(*weights[layer, q], wires=q)
            for q in range(5):
                qml.CZ((q, q + 1))
        return [qml.expval(qml.PauliZ(q)) for q in range(2)]

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = qml.qnn.TorchLayer(circuit, {"weights": (3, 6, 3)}).double()
            self.layer.weights.data.copy_(ours.weights)

        def forward(self, x: Tensor) -> Tensor:
            return ours.logit_scale * self.layer(x.flatten(1))

    theirs = Theirs().eval()
    x, y = images.x[:12].double(), images.y[:12] % 2
    assert (theirs(x) - ours(x)).abs().max() < 1e-9
    attack = PGD(steps=5, loss="margin")
    found = [attack(model, x, y, 0.1, seed=1) for model in (theirs, ours, ours.freeze())]
    assert (found[0] - found[1]).abs().max() < 1e-9
    assert (found[0] - found[2]).abs().max() < 1e-9


# Qiskit


@pytest.fixture
def binary(library):
    """The two-class data set of the example."""
    library("qiskit_machine_learning")
    import interop_qiskit

    return interop_qiskit.zeros_and_ones()


def test_qiskit(binary, few, seed) -> None:
    model = models.build("interop_qiskit:Network", binary, seed=seed)
    check_gradient(model, few)
    check_attacked(frozen(model), few)


def test_qiskit_without_input_gradients_is_refused(binary, few) -> None:
    model = models.build("interop_qiskit:Network", binary, input_gradients=False)
    for attack in (FGSM(), PGD(steps=2)):
        with pytest.raises(
            ValueError, match=r"^the logits do not depend on the images \(detached graph\?\): this attack needs a gradient to follow$"
        ):
            attack(model, few.x, few.y, 0.1)
    assert codes(model, few) == ["detached-gradient"]


def test_qiskit_s_default_precision_is_random(binary, few, seed) -> None:
    """So it must be declared, and is then averaged over."""
    model = models.build("interop_qiskit:Network", binary, precision=1 / 64)
    assert model.stochastic
    x = few.x[:1].expand(40, *few.x.shape[1:])
    with torch.no_grad():
        one, many = model(x).var(0), Expectation(model, 9)(x).var(0)
    assert (one > 0).all()
    assert (many < one / 2).all()
    found = EOT(FGSM(), samples=4)(model, few.x, few.y, 0.1)
    assert (found - few.x).abs().max() <= 0.1 + 1e-7
    model.stochastic = False
    assert codes(model, few)[0] == "random-output"
