"""What a prediction by a layered circuit takes: qubits, gates, depth, encoding of the image, shots (paper, Table I and section II.D)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qarmor.circuits.ansatz import MAX_QUBITS, Ansatz

Amplitudes = Literal["real", "complex"]
Library = Literal["pennylane", "qiskit"]
LIBRARIES = ("pennylane", "qiskit")

PAPER: Mapping[str, str] = {
    "gates a layer": "39",
    "gates of the encoding": "a few thousand",
    "gates in all": "10^3 to 10^4 (QVC200, 10 qubits); of order 10^4 (10 to 12 qubits, 200 to 1000 layers)",
    "error rate needed": "below 0.5 % or so",
    "physical qubits, fault-tolerant": "4000; about 5000 or more",
}
"""What the paper says of the circuits that it uses (section II.D and outlook 4), in its words."""


@dataclass(frozen=True)
class Preparation:
    """Preparing a state with given amplitudes from |0...0>.

    Attributes:
        amplitudes: real, as images are, or complex, as for any state.
        method: what counted it.
        gates: by kind.
        depth: longest chain of gates, each as early as its qubits allow.
    """

    amplitudes: Amplitudes
    method: str
    gates: Mapping[str, int]
    depth: int

    @property
    def total(self) -> int:
        """Number of gates."""
        return sum(self.gates.values())


@dataclass(frozen=True)
class Resources:
    """What a prediction takes.

    Attributes:
        qubits, layers: of the ansatz.
        parameters: its angles.
        gates: of the ansatz, by kind, as written (a general rotation is three).
        gates_per_layer: their number in a layer.
        depth: of the ansatz; the encoding comes before it.
        preparations: ways to encode the image: for real and for complex amplitudes, by the formula.
        shots: see ``shots_a_prediction``; the median over images, None where it is not known or infinite.
    """

    qubits: int
    layers: int
    parameters: int
    gates: Mapping[str, int]
    gates_per_layer: int
    depth: int
    preparations: tuple[Preparation, ...]
    shots: int | None

    def gates_with(self, preparation: Preparation) -> int:
        """Gates of encoding and ansatz together."""
        return preparation.total + sum(self.gates.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``gates_real`` and ``gates_complex`` are with encoding."""
        totals = {f"gates_{each.amplitudes}": self.gates_with(each) for each in self.preparations}
        preparations = [
            {"amplitudes": each.amplitudes, "method": each.method, "gates": dict(each.gates), "depth": each.depth} for each in self.preparations
        ]
        return {
            "qubits": self.qubits,
            "layers": self.layers,
            "parameters": self.parameters,
            "gates": dict(self.gates),
            "gates_per_layer": self.gates_per_layer,
            "depth": self.depth,
            "preparations": preparations,
            **totals,
            "shots": self.shots,
        }


def resources(ansatz: Ansatz, *, gaps: Tensor | None = None, classes: int = 2, error: float = 0.05) -> Resources:
    """Counts of the ansatz and of amplitude encoding.

    Args:
        ansatz: the circuit.
        gaps: float ``(N,)``, for each image the largest expectation value less the next, for the shots; None leaves them out.
        classes: readouts, for the shots.
        error: chance of naming another class, for the shots.

    Raises:
        ValueError: as ``shots_a_prediction``.
    """
    shots = None
    if gaps is not None:
        median = float(shots_a_prediction(gaps, classes, error).median())
        shots = int(median) if math.isfinite(median) else None
    return Resources(
        qubits=ansatz.qubits,
        layers=ansatz.layers,
        parameters=ansatz.parameters,
        gates=dict(ansatz.gates),
        gates_per_layer=ansatz.gates_per_layer,
        depth=ansatz.depth,
        preparations=(preparation(ansatz.qubits, "real"), preparation(ansatz.qubits, "complex")),
        shots=shots,
    )


def preparation(qubits: int, amplitudes: Amplitudes) -> Preparation:
    """Gates of exact state preparation by uniformly controlled rotations (Moettoenen, Vartiainen, Bergholm and Salomaa, quant-ph/0407010).

    Magnitudes take, for every k below n, an RY on qubit k controlled by the k before it, which is 2^k RY and, from k = 1, as many CNOT: 2^n - 1 and
    2^n - 2 in all. Phases take as many RZ and CNOT again. Zeros in the image are not made use of.

    Raises:
        ValueError: qubits not 1 to 14, or amplitudes neither real nor complex.
    """
    if isinstance(qubits, bool) or not isinstance(qubits, int) or not 1 <= qubits <= MAX_QUBITS:
        raise ValueError(f"qubits must be a whole number from 1 to {MAX_QUBITS}, got {qubits!r}")
    if amplitudes not in ("real", "complex"):
        raise ValueError(f"amplitudes must be 'real' or 'complex', got {amplitudes!r}")
    rotations = ("RY",) if amplitudes == "real" else ("RY", "RZ")
    gates = {**dict.fromkeys(rotations, 2**qubits - 1), "CNOT": len(rotations) * (2**qubits - 2)}
    busy = [0] * qubits
    for _ in rotations:
        for target in range(qubits):
            for step in range(1, 2**target + 1):
                busy[target] += 1
                if target:  # controls in the order of a Gray code, the nearest qubit most often
                    control = target - 1 - min((step & -step).bit_length() - 1, target - 1)
                    busy[target] = busy[control] = max(busy[target], busy[control]) + 1
    return Preparation(amplitudes, "formula", gates, max(busy))


def decomposed(vector: Tensor, library: Library) -> Preparation:
    """The state preparation of ``vector`` as a library decomposes it, counted.

    PennyLane's is the method of ``preparation``. Qiskit's is an isometry (Iten et al., arXiv:1501.06911): one CNOT-efficient way for real and complex
    amplitudes, whose gate ``U`` is any rotation of one qubit, three gates as the ansatz counts. A global phase is no gate.

    Args:
        vector: real or complex ``(2^n,)``, n from 1 to 14, not all zero; it is normalised.
        library: ``"pennylane"`` or ``"qiskit"``, of the extra ``interop``.

    Raises:
        ValueError: a vector of another shape or of zeros, or another library. ImportError: the library is not installed.
    """
    n = len(vector).bit_length() - 1 if vector.ndim == 1 and len(vector) else 0
    if vector.ndim != 1 or not 1 <= n <= MAX_QUBITS or len(vector) != 1 << n:
        raise ValueError(f"vector must have 2^n values, n from 1 to {MAX_QUBITS}, got shape {tuple(vector.shape)}; pad it with zeros")
    if not vector.abs().max() > 0:
        raise ValueError("vector must not be all zero; no state has it as amplitudes")
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {library!r}")
    exact = vector.detach().cpu().to(torch.complex128 if vector.is_complex() else torch.float64)
    values = (exact / torch.linalg.vector_norm(exact)).numpy()
    try:
        names, wires = _pennylane(values, n) if library == "pennylane" else _qiskit(values, n)
    except ImportError as error:
        raise ImportError(f"counting the gates of {library} needs it, and it is not installed: pip install qarmor[interop]") from error
    gates: dict[str, int] = {}
    busy = [0] * n
    for name, on in zip(names, wires, strict=True):
        gates[name] = gates.get(name, 0) + 1
        after = max(busy[q] for q in on) + 1
        for q in on:
            busy[q] = after
    return Preparation("complex" if vector.is_complex() else "real", library, dict(sorted(gates.items())), max(busy))


def _pennylane(values: Any, qubits: int) -> tuple[list[str], list[list[int]]]:
    import pennylane

    with pennylane.queuing.QueuingManager.stop_recording():
        ops = pennylane.MottonenStatePreparation.compute_decomposition(values, wires=list(range(qubits)))
    gates = [op for op in ops if op.name != "GlobalPhase"]
    return [op.name for op in gates], [list(op.wires) for op in gates]


def _qiskit(values: Any, qubits: int) -> tuple[list[str], list[list[int]]]:
    import qiskit
    from qiskit.circuit.library import StatePreparation

    written = qiskit.QuantumCircuit(qubits)
    written.append(StatePreparation(values), range(qubits))
    circuit = qiskit.transpile(written, basis_gates=["u", "cx"], optimization_level=0)
    kinds = {"u": "U", "cx": "CNOT"}
    return [kinds[gate.operation.name] for gate in circuit.data], [[circuit.find_bit(q).index for q in gate.qubits] for gate in circuit.data]


def shots_a_prediction(gaps: Tensor, classes: int, error: float = 0.05) -> Tensor:
    """Shots after which the class with the largest <Z_k> is named, but for a chance of at most ``error``: an upper bound by Hoeffding's inequality.

    One shot measures all Z_k. A rival's ``z_best - z_rival`` lies in [-2, 2] and has a mean of at least the gap, so that its mean over S shots is not
    positive with probability ``exp(-S gap^2 / 8)`` or less; there are K - 1 rivals.

    Args:
        gaps: float ``(N,)``, N > 0, the largest expectation value less the next one, in [0, 2].
        classes: K, 2 or more.
        error: between 0 and 1.

    Returns:
        float64 ``(N,)``, whole numbers; infinite for a tie.

    Raises:
        ValueError: a value out of range. Logits are not expectation values: divide them by their scale.
    """
    if gaps.ndim != 1 or not len(gaps) or not ((gaps >= 0) & (gaps <= 2)).all():
        raise ValueError(f"gaps must be (N,), N > 0, of differences of <Z>, in [0, 2], got shape {tuple(gaps.shape)}; divide logits by their scale")
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise ValueError(f"classes must be a whole number, 2 or more, got {classes!r}")
    if not 0 < error < 1:
        raise ValueError(f"error must be between 0 and 1, got {error}")
    return (8 * math.log((classes - 1) / error) / gaps.double().square()).ceil()


def weighted_layers(module: nn.Module) -> int:
    """Layers with weights, as papers count them: convolutions and linear layers, those in a ``shortcut`` left out."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return sum(isinstance(each, kinds) and "shortcut" not in name.split(".") for name, each in module.named_modules())
