"""What every peer is given and what it hands back, so that all compute the same thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
STEPS = ("forward", "train", "attack")


@dataclass(frozen=True)
class Problem:
    """A batch for the layered circuit of ``qarmor.circuits.Ansatz``, and the loss ``sum(expectations * cotangents)``.

    Attributes:
        states: ``(B, 2^n)``, non-negative, of norm one, a third of them zero as in images. Wire 0 is the most significant bit.
        weights: ``(layers, n, 3)``, angles (phi, theta, omega) of RZ(omega) RY(theta) RZ(phi).
        cotangents: ``(B, K)``, one factor for each of <Z_0>, ..., <Z_{K-1}>.
    """

    states: Floats
    weights: Floats
    cotangents: Floats

    @property
    def batch(self) -> int:
        """B."""
        return len(self.states)

    @property
    def layers(self) -> int:
        """Layers of the circuit."""
        return self.weights.shape[0]

    @property
    def qubits(self) -> int:
        """n."""
        return self.weights.shape[1]

    @property
    def readouts(self) -> int:
        """K."""
        return self.cotangents.shape[1]


@dataclass(frozen=True)
class Steps:
    """The three steps as calls without arguments, each of which returns when its result is there.

    What a library needs to do once (building a circuit, putting arrays into its own type) is done before, and is not timed.

    Attributes:
        forward: expectations ``(B, K)``.
        train: the loss's gradient for the weights, ``(layers, n, 3)``; the loss's value is computed on the way.
        attack: the loss's gradient for the states, ``(B, 2^n)``, weights fixed.
        unable: why a step is missing, by its name.
    """

    forward: Callable[[], NDArray[np.floating]] | None = None
    train: Callable[[], NDArray[np.floating]] | None = None
    attack: Callable[[], NDArray[np.floating]] | None = None
    unable: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in STEPS:
            if (getattr(self, name) is None) != (name in self.unable):
                raise ValueError(f"{name} must be given, or unable must say why it isn't")


def problem(qubits: int, layers: int, batch: int, readouts: int, seed: int = 0) -> Problem:
    """The same problem for the same arguments, in every process."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 2 * np.pi, (layers, qubits, 3))
    states = rng.uniform(0, 1, (batch, 1 << qubits))
    states *= rng.uniform(0, 1, states.shape) > 1 / 3
    states[:, -1] = 1  # no state of zeros, however few the qubits
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return Problem(states.astype(np.float32), weights.astype(np.float32), rng.normal(size=(batch, readouts)).astype(np.float32))
