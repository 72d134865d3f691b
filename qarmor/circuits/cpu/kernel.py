"""The circuit on the CPU, compiled by numba: fused forward and adjoint in float32, real or complex states, 1 to 14 qubits.

Samples go to plain threads (as many as ``torch.get_num_threads()``); the kernels hold no global state and no interpreter lock, so they may be
called from several threads and after a fork. Sums over samples are taken in an order that does not depend on the threads: the same bits for any
number.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qarmor.circuits import kron
from qarmor.circuits.cpu.compile import compiling

with compiling():
    from qarmor.circuits.cpu import blocks, frame, plan, singles
    from qarmor.circuits.cpu.vectors import LANES, aligned

_SLOTS = 64  # partial sums of the weights' gradient; fixed, so that threads cannot change the order of additions

Floats = NDArray[np.float32]


class Kernels(NamedTuple):
    """A compiled pair, of blocks or of singles; neither holds the interpreter lock."""

    forward: Callable[..., None]
    adjoint: Callable[..., None]


@cache
def kernels(qubits: int, layout: ModuleType) -> Kernels:
    """The compiled functions of ``qubits`` (4 to 14) for a layout; some seconds the first time on a machine, then read from the cache."""
    with compiling():
        return Kernels(layout.compile_forward(qubits), layout.compile_adjoint(qubits))


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a batch that are treated in one layout, in ``units`` of LANES samples (blocks) or one (singles)."""

    layout: ModuleType
    start: int
    stop: int
    units: int


def parts_of(batch: int, qubits: int) -> list[Part]:
    """Blocks, and singles for what doesn't fill one, unless it nearly does: a block costs less than 0.8 * LANES singles."""
    rest = batch % LANES if plan.has_singles(qubits) else 0
    if rest > 0.8 * LANES:
        rest = 0
    whole = batch - rest
    found = [Part(blocks, 0, whole, -(-whole // LANES)), Part(singles, whole, batch, rest)]
    return [part for part in found if part.units]


class Evolved(NamedTuple):
    """What the adjoint needs of a forward pass: the final amplitudes of each part, a row a unit, and the tables."""

    parts: list[Part]
    kept: list[Floats]
    tables: frame.Tables
    kinds: int
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
    """``(B, 2^n)`` real or complex as float32 ``(B, parts, 2^n)``, contiguous."""
    states = states.detach()
    return torch.stack([states.real, states.imag], 1) if states.is_complex() else states.contiguous()[:, None]


def _pad(states: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, int]:
    """Add wires in |0> at the end, with zero angles, up to the kernel's least number of qubits: they change no expectation."""
    missing = max(0, plan.MIN_QUBITS - weights.shape[1])
    if missing:
        weights = torch.nn.functional.pad(weights, (0, 0, 0, missing))
        padded = states.new_zeros(*states.shape, 1 << missing)
        padded[..., 0] = states
        states = padded.flatten(2)
    return states, weights, missing


def _forward_part(part: Part, states: Floats, tables: frame.Tables, out: Floats, *, keep: bool) -> Floats:
    """Run one part forward into ``out`` (readout signs still missing); returns the final amplitudes if ``keep``, else a row of rubbish."""
    qubits = tables.tangents.shape[1]
    kept = aligned((part.units if keep else 1, (2 << qubits) * (LANES if part.layout is blocks else 1)))
    run = kernels(qubits, part.layout).forward

    def work(first: int, last: int) -> None:
        space = aligned((plan.work_bytes(qubits) // 4,))
        run(states, first, last, tables.tangents, tables.rows, tables.columns, keep, kept, out, space)

    _on_threads(work, part.units)
    return kept


def _adjoint_part(part: Part, kept: Floats, tables: frame.Tables, grad: Floats, grad_states: Floats | None, sums: NDArray[np.float64]) -> None:
    """Run one part backward: writes ``grad_states`` if wanted, and adds to ``sums``, ``(2, slots, layers, n)``, of theta and of alpha."""
    qubits = tables.tangents.shape[1]
    slots = sums.shape[1]
    ranges = _shares(part.units, slots)
    unwanted = np.empty((1, 1, 1), np.float32)
    run = kernels(qubits, part.layout).adjoint
    read = (tables.tangents, tables.squared_cosines, tables.rows, tables.columns)

    def work(first: int, last: int) -> None:
        space = aligned((plan.work_bytes(qubits) // 4,))
        for slot in range(first, last):
            of_states = unwanted if grad_states is None else grad_states
            run(kept, grad, *ranges[slot], *read, grad_states is not None, of_states, sums[0, slot], sums[1, slot], space)

    _on_threads(work, slots)


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
    padded_states, angles, padded = _pad(_as_parts(states), weights.detach().double())
    batch, kinds, _ = padded_states.shape
    qubits = angles.shape[1]
    tables = frame.tables(angles, plan.low_bits(qubits))
    out = np.empty((batch, readouts), np.float32)
    given = padded_states.numpy()
    evolved = Evolved(parts_of(batch, qubits), [], tables, kinds, padded)
    for part in evolved.parts:
        evolved.kept.append(_forward_part(part, given[part.start : part.stop], tables, out[part.start : part.stop], keep=keep))
    out *= tables.readout_signs[:readouts]
    return torch.from_numpy(out), evolved


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
    tables, kinds, padded = evolved.tables, evolved.kinds, evolved.padded
    batch, readouts = grad.shape
    layers, qubits = tables.tangents.shape
    dimension = 1 << qubits
    grad_states = np.empty((batch if want_states else 0, kinds, dimension), np.float32)
    given = grad.detach().numpy() * tables.readout_signs[:readouts]
    sums = [np.zeros((2, min(part.units, _SLOTS), layers, qubits)) for part in evolved.parts]
    for part, kept, of_part in zip(evolved.parts, evolved.kept, sums, strict=True):
        some = slice(part.start, part.stop)
        _adjoint_part(part, kept, tables, given[some], grad_states[some] if want_states else None, of_part)
    theta_sums, alpha_sums = np.concatenate([np.zeros((2, 0, layers, qubits)), *sums], 1)
    gradient = np.zeros((layers, qubits, 3))
    frame.weight_gradient(theta_sums, alpha_sums, tables.theta_signs, tables.alpha_signs, gradient)
    of_weights = torch.from_numpy(gradient[:, : qubits - padded]).float()
    if not want_states:
        return None, of_weights
    of_states = torch.from_numpy(grad_states)[..., :: 1 << padded]
    return (torch.complex(of_states[:, 0], of_states[:, 1]) if kinds == 2 else of_states[:, 0]), of_weights


def amplitudes(states: Tensor, weights: Tensor) -> Tensor:
    """Final amplitudes, complex64 ``(B, 2^n)``, up to one phase for all, and but for the last layer's omega and CZs, which <Z> doesn't see."""
    _, evolved = forward(states, weights, 1, keep=True)
    return _kept_amplitudes(evolved)


def _kept_amplitudes(evolved: Evolved) -> Tensor:
    qubits = len(evolved.tables.readout_signs)
    dimension = 1 << qubits
    of_parts = []
    for part, kept in zip(evolved.parts, evolved.kept, strict=True):
        given = torch.from_numpy(kept)
        if part.layout is blocks:
            given = given.reshape(part.units, dimension, 2, LANES).permute(0, 3, 1, 2).flatten(0, 1)
        else:
            given = given.reshape(part.units, 2, dimension).permute(0, 2, 1)
        of_parts.append(given[: part.stop - part.start])
    values = torch.cat([torch.zeros(0, dimension, 2), *of_parts])
    # the Pauli frame leaves Zs, and Xs after them: signs, and another order of the basis states
    signs, order = _left_by_frame(qubits, evolved.padded, tuple(evolved.tables.phase_signs < 0), tuple(evolved.tables.readout_signs < 0))
    return torch.view_as_complex(values.index_select(1, order).mul_(signs[:, None]))


@lru_cache(maxsize=16)  # attacks in training ask for the same again
def _left_by_frame(qubits: int, padded: int, zs: tuple[bool, ...], xs: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
    """For each basis state that is not of the padding alone: its sign, and where its amplitude lies."""
    flips, phases = (sum(1 << (qubits - 1 - q) for q, present in enumerate(bits) if present) for bits in (xs, zs))
    order = torch.arange(1 << qubits)[:: 1 << padded] ^ flips
    odd = order & phases
    for shift in (8, 4, 2, 1):  # parity of up to 14 bits
        odd = odd ^ (odd >> shift)
    return (1 - 2 * (odd & 1)).float(), order


@cache
def _z_signs(qubits: int) -> Tensor:
    return kron.z_signs(qubits, qubits).T.contiguous()


def state_gradient(evolved: Evolved, grad: Tensor, states: Tensor, weights: Tensor) -> Tensor:
    """The gradient for the states alone, ``2 U^H lambda`` with ``lambda = sum_k grad_k Z_k psi``: a pass of the inverse circuit, no sums for weights.

    U is taken without its last omegas and CZs. Then the inverse circuit is the circuit of reversed layers with negated angles, again without its last
    RZs, the first phi, which are put in here. Passes leave one phase undetermined: a final state, which the inverse must turn back into its image,
    travels along and tells it.

    Args:
        evolved: from ``forward(..., keep=True)``.
        grad: float32 ``(B, readouts)``.
        states, weights: what ``forward`` was given.

    Returns:
        float32 or complex64 ``(B, 2^n)``, as ``adjoint``.
    """
    states, weights = states.detach(), weights.detach()
    layers, qubits = weights.shape[:2]
    psi = _kept_amplitudes(evolved)
    scaled = psi * (2 * grad.detach() @ _z_signs(qubits)[: grad.shape[1]])
    if layers and len(states):
        guide = int(torch.linalg.vector_norm(states, dim=1).argmax())
        angles = -weights.flip(0, 2)
        angles[0, :, 0] = 0
        found = amplitudes(torch.cat([scaled, psi[guide : guide + 1]]), angles)
        phases = (weights[0, :, 0] / 2) @ _z_signs(qubits)
        turned = torch.polar(torch.ones_like(phases), phases).to(found.dtype)
        # nothing where all images are zero, and their gradients with them
        phase = torch.sgn(torch.vdot(found[-1] * turned, states[guide].to(found.dtype)))
        scaled = found[:-1] * (phase * turned)
    return scaled if states.is_complex() else scaled.real.contiguous()


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
        of_states, of_weights = _Adjoint.apply(grads[0], states, weights, ctx.evolved, ctx.needs_input_grad[:2])  # type: ignore[no-untyped-call]
        return (of_states if ctx.needs_input_grad[0] else None), (of_weights if ctx.needs_input_grad[1] else None), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, states: Tensor, weights: Tensor, evolved: Evolved, wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        if not wanted[1]:
            return state_gradient(evolved, grad, states, weights), None
        return adjoint(evolved, grad, want_states=wanted[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("the 'cpu' circuit kernel has no second derivative: use implementation='kron', which has")
