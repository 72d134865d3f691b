"""The layered circuit of the QVCs (West et al. 2023, section II.B and Fig. 1), described without simulating it."""

from dataclasses import dataclass

MAX_QUBITS = 14


@dataclass(frozen=True)
class Ansatz:
    """``layers`` times {RZ(phi), RY(theta), RZ(omega) on every qubit, then CZ on (0, 1), (1, 2), ..., (n-2, n-1)}.

    Attributes:
        qubits: 1 to 14. Wire 0 is the most significant bit of a basis state's index.
        layers: 0 or more.

    Raises:
        ValueError: outside these ranges.
    """

    qubits: int
    layers: int

    def __post_init__(self) -> None:
        if isinstance(self.qubits, bool) or not isinstance(self.qubits, int) or not 1 <= self.qubits <= MAX_QUBITS:
            raise ValueError(f"qubits must be a whole number from 1 to {MAX_QUBITS}, got {self.qubits!r}")
        if isinstance(self.layers, bool) or not isinstance(self.layers, int) or self.layers < 0:
            raise ValueError(f"layers must be a whole number, 0 or more, got {self.layers!r}")

    @property
    def dimension(self) -> int:
        """Length of a state vector, 2^qubits."""
        return 1 << self.qubits

    @property
    def weights_shape(self) -> tuple[int, int, int]:
        """``(layers, qubits, 3)``: the angles (phi, theta, omega) in radians of RZ(omega) RY(theta) RZ(phi)."""
        return (self.layers, self.qubits, 3)

    @property
    def parameters(self) -> int:
        """Number of angles."""
        return 3 * self.qubits * self.layers

    @property
    def gates(self) -> dict[str, int]:
        """Gates by kind, as written: no merging of neighbouring rotations."""
        return {"RZ": 2 * self.qubits * self.layers, "RY": self.qubits * self.layers, "CZ": (self.qubits - 1) * self.layers}

    @property
    def gates_per_layer(self) -> int:
        """39 at 10 qubits (paper, section II.D)."""
        return 4 * self.qubits - 1

    @property
    def depth(self) -> int:
        """Length of the longest chain of gates, each scheduled as early as its wires allow, in the order written."""
        busy = [0] * self.qubits
        for _ in range(self.layers):
            busy = [b + 3 for b in busy]
            for q in range(self.qubits - 1):
                busy[q] = busy[q + 1] = max(busy[q], busy[q + 1]) + 1
        return max(busy)
