"""Expectations of the layered circuit: validate, choose an implementation, differentiate."""

import functools
import importlib
from dataclasses import dataclass

import torch
from torch import Tensor

from qarmor.circuits.ansatz import Ansatz

IMPLEMENTATIONS = ("cpu", "kron", "reference")
_REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}


@dataclass(frozen=True)
class Choice:
    """Which implementation computes, and why; prints as one line."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@functools.cache
def _cpu_unavailable() -> str:
    """Why the compiled kernel cannot be used, or an empty string."""
    try:
        importlib.import_module("qarmor.circuits.cpu.kernel")
    except ImportError as error:
        return f"numba is needed for it and cannot be imported: {error}"
    return ""


def _cpu_obstacle(dtype: torch.dtype, device: torch.device) -> str:
    if device.type != "cpu":
        return f"the compiled kernel runs on the CPU, the tensors are on {device.type}"
    if dtype != torch.float32:
        return f"the compiled kernel computes in float32, the tensors are {str(dtype).removeprefix('torch.')}"
    return _cpu_unavailable()


def choose(dtype: torch.dtype, device: torch.device | str, implementation: str = "auto") -> Choice:
    """The implementation for real precision ``dtype`` on ``device``.

    ``"auto"`` takes the compiled kernel where it can be used, else plain torch. A named one is used or refused.

    Raises:
        ValueError: a name that does not exist, or an implementation that cannot be used here; the message lists what exists.
    """
    device = torch.device(device)
    if implementation == "auto":
        obstacle = _cpu_obstacle(dtype, device)
        return Choice("kron", f"auto: {obstacle}") if obstacle else Choice("cpu", "auto: float32 on the CPU, compiled by numba")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation must be 'auto' or one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}")
    if implementation == "cpu" and (obstacle := _cpu_obstacle(dtype, device)):
        raise ValueError(f"implementation 'cpu' cannot be used: {obstacle}; use 'auto' or one of {', '.join(IMPLEMENTATIONS)}")
    return Choice(implementation, "asked for")


def _described(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _validate(states: Tensor, weights: Tensor, readouts: int | None) -> int:
    if not isinstance(states, Tensor) or not (states.is_floating_point() or states.is_complex()):
        raise TypeError(f"states must be a tensor of floats or complex numbers, got {_described(states)}")
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        raise TypeError(f"weights must be a tensor of floats, got {_described(weights)}")
    if weights.ndim != 3 or weights.shape[2] != 3:
        raise ValueError(f"weights must be (layers, qubits, 3), got shape {tuple(weights.shape)}")
    ansatz = Ansatz(weights.shape[1], weights.shape[0])
    if states.ndim not in (1, 2) or states.shape[-1] != ansatz.dimension:
        wanted = f"(2^n,) or (B, 2^n) with 2^n = {ansatz.dimension} for the {ansatz.qubits} qubits of the weights"
        raise ValueError(f"states must be {wanted}, got shape {tuple(states.shape)}")
    if states.device != weights.device:
        raise ValueError(f"states are on {states.device} and weights on {weights.device}: move them to one device")
    readouts = ansatz.qubits if readouts is None else readouts
    if isinstance(readouts, bool) or not isinstance(readouts, int) or not 1 <= readouts <= ansatz.qubits:
        raise ValueError(f"readouts must be a whole number from 1 to the number of qubits, {ansatz.qubits}, got {readouts!r}")
    return readouts


def expectations(states: Tensor, weights: Tensor, readouts: int | None = None, *, implementation: str = "auto") -> Tensor:
    """<Z_0>, ..., <Z_{readouts-1}> after the layered circuit of West et al. 2023 (see ``Ansatz``), differentiable in states and weights.

    Args:
        states: real or complex ``(B, 2^n)`` or ``(2^n,)``, 1 to 14 qubits, wire 0 the most significant bit. They are taken as they are: an
            unnormalised state gives <psi|Z|psi>.
        weights: ``(layers, n, 3)``, angles (phi, theta, omega) in radians of Rot = RZ(omega) RY(theta) RZ(phi), as in PennyLane.
        readouts: how many wires are read, from wire 0 on; all by default.
        implementation: ``"auto"``, or one of ``IMPLEMENTATIONS``: ``"cpu"`` (compiled, float32, no second derivative), ``"kron"`` (plain torch, any
            device), ``"reference"`` (complex128 inside, gate by gate). ``choose`` tells which is taken and why.

    Returns:
        Real ``(B, readouts)`` or ``(readouts,)``, in the higher precision of states and weights.

    Raises:
        TypeError, ValueError: wrong types, shapes, devices or ranges, or an implementation that cannot be used.
    """
    readouts = _validate(states, weights, readouts)
    real = _REAL.get(states.dtype, states.dtype)
    precision = torch.promote_types(real, weights.dtype)
    if precision not in (torch.float32, torch.float64):
        raise TypeError(f"states and weights must be float32 or float64 (or their complex kinds), got {states.dtype} and {weights.dtype}")
    chosen = choose(precision, states.device, implementation).name
    batch = states if states.ndim == 2 else states[None]
    batch = batch.to(torch.promote_types(states.dtype, precision))
    weights = weights.to(precision)
    if chosen == "cpu":
        from qarmor.circuits.cpu import kernel

        out: Tensor = kernel.Expectations.apply(batch, weights, readouts)  # type: ignore[no-untyped-call]
    elif chosen == "kron":
        from qarmor.circuits import kron

        out = kron.expectations(batch, weights, readouts)
    else:
        from qarmor.circuits import reference

        out = reference.expectations(batch, weights, readouts).to(precision)
    return out if states.ndim == 2 else out[0]
