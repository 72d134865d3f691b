"""Noise in the layered circuit, exactly: readouts carried back through the noisy circuit become quadratic forms of the image (DESIGN 3.4).

Carrying the K readouts back (Heisenberg) needs no density matrix per image. In the Pauli basis a readout is 4^n real numbers (``pauli``); every
rotation and every channel on one wire is a real map on the coefficients of I, Z, X, Y there, so all that happens on a wire between two CZs is
multiplied into one. Encoding is noiseless. All in float64 on the CPU.
"""

import math
import numbers
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qarmor.circuits.ansatz import Ansatz

Kind = Literal["depolarising", "global-depolarising", "amplitude-damping", "bit-flip", "phase-flip", "kraus"]
Where = Literal["end", "layer", "gate"]
Operators = Sequence[Sequence[Sequence[complex | Sequence[float]]]]
Floats = NDArray[np.float64]

_PAULIS = np.array([[[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]]])  # I, Z, X, Y
_SUM_TOLERANCE = 1e-8
_ROUNDING = 1e-15


@dataclass(frozen=True)
class Noise:
    """One kind of noise, of one strength, at one kind of place. Every field is a JSON or TOML value: ``Noise(**table)`` reads one.

    With rate p, the kinds are:

    - ``"depolarising"``: each qubit: X, Y, Z scale by 1 - p; p = 1 is the fully mixed qubit (PennyLane's rate is 3/4 p).
    - ``"global-depolarising"``: all qubits together (the paper's): the state becomes (1 - p) state + p I/2^n, so every expectation scales by 1 - p.
    - ``"amplitude-damping"``: each qubit: 1 decays to 0 with probability p: Z to (1 - p) Z + p I; X, Y scale by sqrt(1 - p).
    - ``"bit-flip"``: each qubit: X happens with probability p; Y, Z scale by 1 - 2 p.
    - ``"phase-flip"``: each qubit: Z happens with probability p; X, Y scale by 1 - 2 p.
    - ``"kraus"``: each qubit: any channel, given by its Kraus operators.

    Attributes:
        kind: see above.
        rate: p, in [0, 1]; None for ``"kraus"``.
        where: ``"end"``: on every qubit, once, before the readout. ``"layer"``: on every qubit after every layer. ``"gate"``: after every gate on the
            qubits that it acts on; each RZ, RY, RZ counts as a gate, and CZ acts on two. Global depolarising is applied once, once a layer, or
            once a gate.
        kraus: for ``"kraus"``: the operators, each two rows of two entries; an entry is a number or a pair (real part, imaginary part). Kept as
            tuples of complex numbers.

    Raises:
        TypeError, ValueError: unknown names, a rate outside [0, 1], operators of another form, or with sum K^dagger K that is not the identity.
    """

    kind: Kind
    rate: float | None = None
    where: Where = "layer"
    kraus: Operators | None = None

    def __post_init__(self) -> None:
        for argument, value, known in (("kind", self.kind, get_args(Kind)), ("where", self.where, get_args(Where))):
            if value not in known:
                raise ValueError(f"noise: {argument} must be one of {', '.join(known)}, got {value!r}")
        if self.kind == "kraus":
            if self.rate is not None:
                raise ValueError(f"noise: rate belongs to the named kinds, got {self.rate!r} with kind 'kraus'; put the strength into the operators")
            object.__setattr__(self, "kraus", _checked_operators(self.kraus))
        else:
            if self.kraus is not None:
                raise ValueError(f"noise: kraus needs kind 'kraus', got kind {self.kind!r}")
            object.__setattr__(self, "rate", _checked_rate(self.rate))

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made of, as JSON values: ``Noise(**noise.parameters) == noise``."""
        if self.kraus is None:
            return {"kind": self.kind, "rate": self.rate, "where": self.where}
        pairs = [[[[entry.real, entry.imag] for entry in row] for row in operator] for operator in self.operators().tolist()]
        return {"kind": self.kind, "where": self.where, "kraus": pairs}

    def operators(self) -> NDArray[np.complex128]:
        """Kraus operators of the channel on one qubit, ``(m, 2, 2)``; the identity for global depolarising, which is none."""
        if self.kraus is not None:
            return np.array(self.kraus, complex)
        p = 0.0 if self.rate is None else self.rate
        if self.kind == "amplitude-damping":
            return np.array([[[1, 0], [0, math.sqrt(1 - p)]], [[0, math.sqrt(p)], [0, 0]]], complex)
        shares = {  # of I, Z, X, Y
            "depolarising": (1 - 0.75 * p, p / 4, p / 4, p / 4),
            "bit-flip": (1 - p, 0, p, 0),
            "phase-flip": (1 - p, p, 0, 0),
            "global-depolarising": (1, 0, 0, 0),
        }[self.kind]
        weighted: NDArray[np.complex128] = np.sqrt(np.array(shares))[:, None, None] * _PAULIS
        return weighted

    def factor(self, ansatz: Ansatz) -> float:
        """By how much global depolarising scales expectations in the whole circuit; 1 for other kinds."""
        if self.kind != "global-depolarising" or self.rate is None:
            return 1.0
        times = {"end": 1, "layer": ansatz.layers, "gate": sum(ansatz.gates.values())}
        return float((1 - self.rate) ** times[self.where])


def _checked_rate(rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
        raise TypeError(f"noise: rate must be a number from 0 to 1, got {rate!r}")
    value = float(rate)
    if not 0 <= value <= 1:
        raise ValueError(f"noise: rate must be from 0 to 1, got {value:g}; it is a probability, per cent are divided by 100")
    return value


def _checked_operators(kraus: object) -> tuple[tuple[tuple[complex, ...], ...], ...]:
    """The operators as tuples. Raises TypeError or ValueError for another form, or if they are no channel."""
    if kraus is None:
        raise ValueError("noise: kind 'kraus' needs kraus, a list of 2x2 matrices")
    try:
        found = tuple(tuple(tuple(_complex(entry) for entry in row) for row in operator) for operator in kraus)  # type: ignore[attr-defined]
    except TypeError as error:
        raise TypeError(f"noise: kraus must be a list of 2x2 matrices of numbers or (real, imaginary) pairs, got {kraus!r}") from error
    if not found or any(len(operator) != 2 or any(len(row) != 2 for row in operator) for operator in found):
        raise ValueError(f"noise: kraus must be a list of one or more 2x2 matrices, got {kraus!r}")
    matrices = np.array(found)
    if not np.isfinite(matrices).all():
        raise ValueError(f"noise: kraus must be finite, got {kraus!r}")
    off = float(np.abs(np.einsum("mji,mjk->ik", matrices.conj(), matrices) - np.eye(2)).max())
    if not off <= _SUM_TOLERANCE:
        raise ValueError(f"noise: the sum of K^dagger K over kraus must be the identity, it is off by {off:.3g}; scale or complete the operators")
    return found


def _complex(entry: Any) -> complex:
    if isinstance(entry, numbers.Complex):
        return complex(entry)
    real, imaginary = entry if len(entry) == 2 else (None, None)
    if not (isinstance(real, numbers.Real) and isinstance(imaginary, numbers.Real)):
        raise TypeError("no pair of real numbers")
    return complex(float(real), float(imaginary))


def _back(kraus: NDArray[np.complex128]) -> Floats:
    """What channels ``(..., m, 2, 2)`` do to the coefficients of I, Z, X, Y of an operator carried back through them: ``(..., 4, 4)``."""
    traces = np.einsum("pab,...mcb,qcd,...mda->...pq", _PAULIS, kraus.conj(), _PAULIS, kraus).real / 2
    # rounding must not leave a trace of Z in I: a constant of 1e-17 would decide what strong noise leaves of the readouts
    return np.where(np.abs(traces) < _ROUNDING, 0.0, traces)


def _rotations(angles: Floats, *, about_y: bool) -> Floats:
    """RZ(angles), or RY, carried back through: ``(..., 4, 4)``."""
    half = angles[..., None, None, None] / 2
    return _back(np.cos(half) * _PAULIS[0] - 1j * np.sin(half) * _PAULIS[3 if about_y else 1])


def _maps(weights: Floats, noise: Noise) -> tuple[Floats, Floats]:
    """For each layer and wire the map between CZs, ``(layers, n, 4, 4)``, and that between the last CZs and the readout, ``(4, 4)``.

    Of a wire's CZs the one that comes last in its layer is followed by noise that belongs to the map of the next layer.
    """
    channel, identity = _back(noise.operators()), np.eye(4)
    gate = channel if noise.where == "gate" else identity
    phi, theta, omega = (_rotations(weights[:, :, k], about_y=k == 1) @ gate for k in range(3))
    maps = phi @ theta @ omega
    after_layer = noise.where == "layer" or (noise.where == "gate" and weights.shape[1] > 1)
    last = channel if noise.where == "end" or (after_layer and len(weights)) else identity
    if after_layer:
        maps[1:] = channel @ maps[1:]
    return maps, last


def forms(weights: Tensor, readouts: int, noise: Noise, positions: Tensor | None = None) -> Tensor:
    """``A_k`` with ``<Z_k> = x^T A_k x`` of the noisy circuit, for real normalised x: float64 ``(readouts, d, d)`` on the CPU.

    Takes 8 * 4^n bytes a thread beside the result; readouts go to ``torch.get_num_threads()`` threads, which do not change a bit of it.

    Args:
        weights: float ``(layers, n, 3)``, angles in radians.
        readouts: 1 to n.
        noise: what happens, and where.
        positions: int64 ``(d,)``, which amplitude each value of x is, each once; all 2^n by default.

    Raises:
        TypeError, ValueError: wrong types, shapes or ranges.
    """
    if not isinstance(noise, Noise):
        raise TypeError(f"noise must be a qarmor.circuits.noise.Noise, got {type(noise).__name__}; a table is read by Noise(**table)")
    if not isinstance(weights, Tensor) or weights.ndim != 3 or weights.shape[2] != 3:
        raise ValueError(f"weights must be a tensor (layers, qubits, 3), got {tuple(weights.shape) if isinstance(weights, Tensor) else weights!r}")
    ansatz = Ansatz(weights.shape[1], weights.shape[0])
    if isinstance(readouts, bool) or not isinstance(readouts, int) or not 1 <= readouts <= ansatz.qubits:
        raise ValueError(f"readouts must be a whole number from 1 to the number of qubits, {ansatz.qubits}, got {readouts!r}")
    places = np.arange(ansatz.dimension) if positions is None else positions.detach().cpu().numpy().astype(np.int64)
    if places.ndim != 1 or len(np.unique(places)) != len(places) or not ((places >= 0) & (places < ansatz.dimension)).all():
        raise ValueError(f"positions must be different amplitudes (d,) from 0 to {ansatz.dimension - 1}, got {positions}")
    carried = _carried(weights.detach().cpu().double().numpy(), readouts, noise, places)
    return torch.from_numpy(carried).mul_(noise.factor(ansatz))


def _carried(weights: Floats, readouts: int, noise: Noise, positions: NDArray[np.int64]) -> Floats:
    from qarmor.circuits.cpu.compile import compiling

    with compiling():
        from qarmor.circuits import pauli
    qubits = weights.shape[1]
    maps, last = _maps(weights, noise)
    between = _back(noise.operators())
    noisy = noise.where == "gate" and not np.array_equal(between, np.eye(4))
    counts = 4 ** np.array([pauli.place(q, qubits) for q in range(qubits)])
    bits = np.arange(1 << qubits)[:, None] >> np.arange(qubits - 1, -1, -1) & 1
    rows = np.full(1 << qubits, -1)
    rows[positions] = np.arange(len(positions))
    out = np.zeros((readouts, len(positions), len(positions)))

    def carry(readout: int) -> None:
        v = np.zeros(4**qubits)
        v[np.arange(4) * counts[readout]] = last[:, 1]
        pauli.carry_back(v, maps, between, noisy)
        pauli.real_part(v, bits @ counts, positions, rows, out[readout])

    with ThreadPoolExecutor(min(readouts, torch.get_num_threads())) as pool:
        for done in [pool.submit(carry, k) for k in range(readouts)]:
            done.result()
    return out
