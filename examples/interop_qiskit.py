"""A Qiskit network through QArmor: a TorchConnector, attacked; exact, and measured in shots, which takes expectation over transformation.

    pip install -e ".[interop]" && python examples/interop_qiskit.py

Half a minute: Qiskit runs every circuit of every gradient by itself, so the images are few, and 2x2 pixels of them are used.
"""

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from torch import Tensor, nn

import qarmor
from qarmor.attacks.eot import EOT
from qarmor.training import Recipe
from qarmor.types import Classifier, Dataset, Images

QUBITS, SCALE = 4, 4.0


class Network(Classifier):
    """Digits 0 and 1 by a circuit of 4 qubits on 2x2 means of an image's middle; logits from <Z> of the first two.

    Args:
        dataset: two classes, images of 1x8x8.
        input_gradients: Qiskit's own default is False, and then there is nothing for an attack to follow.
        precision: standard deviation of an expectation; Qiskit's own default is 1/64, which makes a random network. 0 is exact.
    """

    def __init__(self, dataset: Dataset, input_gradients: bool = True, precision: float = 0.0) -> None:
        super().__init__()
        pixels, weights = ParameterVector("x", QUBITS), ParameterVector("w", QUBITS)
        circuit = QuantumCircuit(QUBITS)
        for q in range(QUBITS):
            circuit.ry(np.pi * pixels[q], q)
        for q in range(QUBITS):
            circuit.cx(q, (q + 1) % QUBITS)
        for q in range(QUBITS):
            circuit.ry(weights[q], q)
        qnn = EstimatorQNN(
            circuit=circuit,
            estimator=StatevectorEstimator(),
            observables=[SparsePauliOp.from_sparse_list([("Z", [q], 1)], QUBITS) for q in range(len(dataset.classes))],
            input_params=list(pixels),
            weight_params=list(weights),
            input_gradients=input_gradients,
            default_precision=precision,
        )
        angles = torch.empty(QUBITS).uniform_(-1, 1)
        self.layers = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), TorchConnector(qnn, initial_weights=angles.numpy()))
        self.stochastic = precision > 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, 1, 8, 8)``."""
        return SCALE * self.layers(x[:, :, 2:6, 2:6])


def zeros_and_ones() -> Dataset:
    """The digits 0 and 1."""

    def part(images: Images) -> Images:
        return images[images.y < 2]

    digits = qarmor.load("digits")
    return Dataset("digits01", part(digits.train), part(digits.test), ("0", "1"))


if __name__ == "__main__":
    data = zeros_and_ones()
    exact = qarmor.models.build("interop_qiskit:Network", data)
    qarmor.fit(exact, data.train[:64], Recipe(epochs=2, batch_size=16, lr=0.1))
    shots = qarmor.models.build("interop_qiskit:Network", data, precision=0.1)
    shots.load_state_dict(exact.state_dict())
    images, pgd = data.test.subset(20, seed=0), qarmor.attacks.PGD(steps=3, loss="margin", random_start=False)
    print(f"{'network':12}{'attack':10}{'eps':6}accuracy")
    for name, model, attack in (("exact", exact, pgd), ("measured", shots, pgd), ("measured", shots, EOT(pgd, samples=4))):
        for row in qarmor.transfer({name: model}, {name: model}, images, attack, [0.2], seed=0).where(metric="accuracy"):
            said = f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}] {' '.join(row.flags)}"
            print(f"{name:12}{row.attack or '(clean)':10}{row.eps:<6g}{said}")
