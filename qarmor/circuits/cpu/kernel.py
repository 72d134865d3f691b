"""The circuit on the CPU, compiled by numba: fused forward and adjoint in float32, real or complex states, 1 to 14 qubits.

Blocks of samples go to plain threads (as many as ``torch.get_num_threads()``); the kernels hold no global state and no interpreter lock, so
they may be called from several threads and after a fork. Sums over samples are taken in an order that does not depend on the threads: the same
bits for any number.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qarmor.circuits.cpu.compile import compiling

with compiling():
    from qarmor.circuits.cpu import frame, plan
    from qarmor.circuits.cpu.vectors import LANES, aligned

_SLOTS = 64  # partial sums of the weights' gradient; fixed, so that threads cannot change the order of additions

Floats = NDArray[np.float32]


@cache
def kernels(qubits: int) -> plan.Kernels:
    """The compiled functions of ``qubits`` (4 to 14); some seconds the first time on a machine, then read from the cache."""
    with compiling():
        return plan.Kernels(qubits, plan.compile_forward(qubits), plan.compile_adjoint(qubits))


class Evolved(NamedTuple):
    """What the adjoint needs of a forward pass: the final amplitudes in blocks of lanes, and the tables."""

    kept: Floats
    tables: frame.Tables
    batch: int
    parts: int
    qubits: int
    padded: int


def _shares(total: int, parts: int) -> list[tuple[int, int]]:
    return [(p * total // parts, (p + 1) * total // parts) for p in range(parts)]


def _on_threads(work: Callable[[int, int], None], total: int) -> None:
    """``work(first, last)`` over shares of ``total``, one a thread."""
    threads = min(torch.get_num_threads(), total)
    if threads <= 1:
        work(0, total)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, first, last) for first, last in _shares(total, threads)]:
            done.result()


def _as_parts(states: Tensor) -> Tensor:
    """``(B, 2^n)`` real or complex as float32 ``(B, 2^n, parts)``, contiguous."""
    states = states.detach().contiguous()
    return torch.view_as_real(states.resolve_conj()).contiguous() if states.is_complex() else states[:, :, None]


def _pad(states: Tensor, weights: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64], int]:
    """Add wires in |0> at the end, with zero angles, up to the kernel's least number of qubits: they change no expectation."""
    missing = max(0, plan.MIN_QUBITS - weights.shape[1])
    if missing:
        weights = np.ascontiguousarray(np.pad(weights, ((0, 0), (0, missing), (0, 0))))
        padded = states.new_zeros(*states.shape[:2], 1 << missing, states.shape[2])
        padded[:, :, 0] = states
        states = padded.flatten(1, 2)
    return states, weights, missing


def forward(states: Tensor, weights: Tensor, readouts: int, *, keep: bool) -> tuple[Tensor, Evolved]:
    """Expectations of <Z_0>, ..., <Z_{readouts-1}>.

    Args:
        states: float32 or complex64 ``(B, 2^n)`` on the CPU.
        weights: float32 ``(layers, n, 3)``.
        readouts: 1 to n.
        keep: keep the final amplitudes, for ``adjoint`` or ``amplitudes``.

    Returns:
        float32 ``(B, readouts)``, and what was kept.
    """
    parts_first = _as_parts(states)
    padded_states, angles, padded = _pad(parts_first, weights.detach().contiguous().double().numpy())
    batch, dimension, parts = padded_states.shape
    layers, qubits, _ = angles.shape
    tables = frame.empty_tables(layers, qubits, plan.low_bits(qubits))
    frame.fill_tables(angles, plan.low_bits(qubits), *tables)
    blocks = -(-batch // LANES)
    kept = aligned((blocks if keep else 1, dimension * 2 * LANES))
    out = np.empty((batch, readouts), np.float32)
    given = padded_states.contiguous().numpy()
    run = kernels(qubits).forward

    def work(first: int, last: int) -> None:
        space = aligned((plan.work_bytes(qubits) // 4,))
        run(given, first, last, tables.tangents, tables.rows, tables.columns, tables.readout_signs, keep, kept, out, space)

    _on_threads(work, blocks)
    return torch.from_numpy(out), Evolved(kept, tables, batch, parts, qubits, padded)


def adjoint(evolved: Evolved, grad: Tensor, *, want_states: bool) -> tuple[Tensor | None, Tensor]:
    """Gradients of ``sum(grad * expectations)``.

    Args:
        evolved: from ``forward(..., keep=True)``.
        grad: float32 ``(B, readouts)``.
        want_states: whether the gradient for the states is wanted.

    Returns:
        Gradient for the states (float32 or complex64 ``(B, 2^n)``, or None) and for the weights, float32 ``(layers, n, 3)``. A complex gradient is
        dL/dRe + i dL/dIm, torch's convention.
    """
    kept, tables, batch, parts, qubits, padded = evolved
    layers, dimension = len(tables.tangents), 1 << qubits
    blocks = -(-batch // LANES)
    slots = min(blocks, _SLOTS)
    grad_states = np.empty((batch if want_states else 1, dimension if want_states else 1, parts), np.float32)
    theta_sums, alpha_sums = np.zeros((2, slots, layers, qubits))
    given = grad.detach().contiguous().numpy()
    run = kernels(qubits).adjoint
    ranges = _shares(blocks, slots) if slots else []
    rest: tuple[Any, ...] = (tables.tangents, tables.squared_cosines, tables.rows, tables.columns, tables.readout_signs, want_states, grad_states)

    def work(first: int, last: int) -> None:
        space = aligned((plan.work_bytes(qubits) // 4,))
        for slot in range(first, last):
            run(kept, given, *ranges[slot], *rest, theta_sums[slot], alpha_sums[slot], space)

    _on_threads(work, slots)
    gradient = np.zeros((layers, qubits, 3))
    frame.weight_gradient(theta_sums, alpha_sums, tables.theta_signs, tables.alpha_signs, gradient)
    of_weights = torch.from_numpy(gradient[:, : qubits - padded]).float()
    if not want_states:
        return None, of_weights
    of_states = torch.from_numpy(grad_states).reshape(batch, dimension >> padded, 1 << padded, parts)[:, :, 0]
    return (torch.view_as_complex(of_states.contiguous()) if parts == 2 else of_states[..., 0]), of_weights


def amplitudes(states: Tensor, weights: Tensor) -> Tensor:
    """Final amplitudes, complex64 ``(B, 2^n)``, up to a phase each: the probabilities of basis states, and so <Z>, are right."""
    _, evolved = forward(states, weights, 1, keep=True)
    dimension = 1 << evolved.qubits
    blocks = torch.from_numpy(evolved.kept).reshape(-1, dimension, 2, LANES)
    values = torch.complex(blocks[:, :, 0], blocks[:, :, 1]).transpose(1, 2).reshape(-1, dimension)[: evolved.batch]
    # the Pauli frame leaves an X on wires whose readout sign is -1: relabel the basis states
    flips = sum(1 << (evolved.qubits - 1 - q) for q, sign in enumerate(evolved.tables.readout_signs) if sign < 0)
    relabelled = values[:, torch.arange(dimension) ^ flips]
    return relabelled.reshape(evolved.batch, -1, 1 << evolved.padded)[:, :, 0]


class Expectations(torch.autograd.Function):
    """``forward`` and ``adjoint`` for autograd; a second derivative is refused in words."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor, readouts: int) -> Tensor:
        """Expectations, see the module's ``forward``."""
        keep = any(ctx.needs_input_grad[:2])
        out, evolved = forward(states, weights, readouts, keep=keep)
        if keep:
            ctx.evolved = evolved
            ctx.save_for_backward(states, weights)  # lets autograd notice changes in place
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients for states and weights."""
        states, weights = ctx.saved_tensors
        of_states, of_weights = _Adjoint.apply(grads[0], states, weights, ctx.evolved, ctx.needs_input_grad[0])  # type: ignore[no-untyped-call]
        return (of_states if ctx.needs_input_grad[0] else None), (of_weights if ctx.needs_input_grad[1] else None), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, states: Tensor, weights: Tensor, evolved: Evolved, want_states: bool) -> tuple[Tensor | None, Tensor]:
        return adjoint(evolved, grad, want_states=want_states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("the 'cpu' circuit kernel has no second derivative: use implementation='kron', which has")
