"""Qulacs: one sample at a time, complex128; gates merged by its optimizer where weights are fixed, ``backprop`` for the weights' gradient."""

import numpy as np
import qulacs
from numpy.typing import NDArray
from qulacs.circuit import QuantumCircuitOptimizer
from qulacs.gate import CZ, RY, RZ, DiagonalMatrix, H, ParametricRY, ParametricRZ

from peers._contract import Problem, Steps

MERGED = 2  # qubits of a merged gate: at 10 qubits faster than 1 or 3


def _ansatz(problem: Problem, circuit: qulacs.QuantumCircuit) -> qulacs.QuantumCircuit:
    """Adds the layers. Qulacs counts qubits from the least significant bit, and its rotations turn the other way."""
    ry, rz = (ParametricRY, ParametricRZ) if isinstance(circuit, qulacs.ParametricQuantumCircuit) else (RY, RZ)
    add = circuit.add_parametric_gate if isinstance(circuit, qulacs.ParametricQuantumCircuit) else circuit.add_gate
    for layer in -problem.weights.astype(float):
        for wire, (phi, theta, omega) in enumerate(layer):
            q = problem.qubits - 1 - wire
            for gate in (rz(q, phi), ry(q, theta), rz(q, omega)):
                add(gate)
        for q in range(problem.qubits - 1, 0, -1):
            circuit.add_gate(CZ(q, q - 1))
    return circuit


def _readout(qubits: int, factors: NDArray[np.floating]) -> qulacs.Observable:
    observable = qulacs.Observable(qubits)
    for wire, factor in enumerate(factors):
        observable.add_operator(float(factor), f"Z {qubits - 1 - wire}")
    return observable


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    n = problem.qubits
    states = problem.states.astype(complex)
    fixed = _ansatz(problem, qulacs.QuantumCircuit(n))
    back = fixed.get_inverse()
    for circuit in (fixed, back):
        QuantumCircuitOptimizer().optimize(circuit, MERGED)
    parametric = qulacs.ParametricQuantumCircuit(n)
    for q in range(n):
        parametric.add_gate(H(q))
    _ansatz(problem, parametric)
    readouts = [_readout(n, np.eye(problem.readouts)[k]) for k in range(problem.readouts)]
    losses = [_readout(n, factors) for factors in problem.cotangents]

    def forward() -> NDArray[np.floating]:
        ket = qulacs.QuantumState(n)
        result = np.empty((problem.batch, problem.readouts))
        for b, state in enumerate(states):
            ket.load(state)
            fixed.update_quantum_state(ket)
            result[b] = [z.get_expectation_value(ket) for z in readouts]
        return result

    def train() -> NDArray[np.floating]:
        gradient = np.zeros(problem.weights.size)
        for state, loss in zip(states, losses, strict=True):
            # backprop starts from |0>: Hadamards and a diagonal make the state of it, here the only cheap gates that have an inverse
            parametric.add_gate(DiagonalMatrix(list(range(n)), state * 2 ** (n / 2)), n)
            gradient -= parametric.backprop(loss)
            parametric.remove_gate(n)
        return gradient.reshape(problem.weights.shape)

    def attack() -> NDArray[np.floating]:
        ket, bra, work = (qulacs.QuantumState(n) for _ in range(3))
        result = np.empty(states.shape)
        for b, (state, loss) in enumerate(zip(states, losses, strict=True)):
            ket.load(state)
            fixed.update_quantum_state(ket)
            loss.apply_to_state(work, ket, bra)
            back.update_quantum_state(bra)
            result[b] = 2 * bra.get_vector().real
        return result

    return Steps(forward, train, attack)
