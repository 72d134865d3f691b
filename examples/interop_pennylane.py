"""A PennyLane network through QArmor: trained, attacked, and beside one of ours.

    pip install -e ".[interop]" && python examples/interop_pennylane.py

Half a minute. In a study or on the command line the same network is `interop_pennylane:network` (seen from this folder).
"""

import pennylane as qml
from torch import nn

import qarmor
from qarmor.training import Recipe
from qarmor.types import Dataset

QUBITS = 6


def network(dataset: Dataset, layers: int = 4, device: str = "default.qubit", diff_method: str = "backprop") -> nn.Module:
    """64 pixels as amplitudes of 6 qubits, strongly entangling layers, <Z> of every qubit, and a linear layer for the classes.

    Attacks need the gradient for the images. With ``diff_method="backprop"`` it is right; with ``"adjoint"`` it is NaN as soon as a pixel is 0.
    """

    @qml.qnode(qml.device(device, wires=QUBITS), interface="torch", diff_method=diff_method)
    def circuit(inputs, weights):
        qml.AmplitudeEmbedding(inputs, wires=range(QUBITS), normalize=True)
        qml.StronglyEntanglingLayers(weights, wires=range(QUBITS))
        return [qml.expval(qml.PauliZ(q)) for q in range(QUBITS)]

    layer = qml.qnn.TorchLayer(circuit, {"weights": (layers, QUBITS, 3)})
    return nn.Sequential(nn.Flatten(), layer, nn.Linear(QUBITS, len(dataset.classes)))


if __name__ == "__main__":
    data = qarmor.load("digits")
    networks = {name: qarmor.models.build(name, data) for name in ("interop_pennylane:network", "linear")}
    for model in networks.values():
        qarmor.fit(model, data.train, Recipe(epochs=8, lr=2e-2, schedule="cosine"))
    rows = qarmor.transfer(networks, networks, data.test.subset(100, seed=0), qarmor.attacks.PGD(steps=10, loss="margin"), [0.05, 0.1], seed=0)
    print(f"{'crafted on':27}{'judged':27}{'eps':6}accuracy")
    for row in rows.where(metric="accuracy"):
        print(f"{row.source or '(clean)':27}{row.target:27}{row.eps:<6g}{row.value:.2f} [{row.low:.2f}, {row.high:.2f}] {' '.join(row.flags)}")
