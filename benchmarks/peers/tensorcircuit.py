"""TensorCircuit-NG with its JAX backend: a circuit a layer in ``backend.scan``, the batch by ``backend.vmap``, all under ``backend.jit``."""

import numpy as np
import tensorcircuit as tc
from jax import Array

from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    backend = tc.set_backend("jax")
    tc.set_dtype("complex64")
    n = problem.qubits

    def layer(state: Array, angles: Array) -> Array:
        circuit = tc.Circuit(n, inputs=state)
        for wire in range(n):
            # U(theta, omega, phi) is RZ(omega) RY(theta) RZ(phi) but for a phase
            circuit.u(wire, theta=angles[wire, 1], phi=angles[wire, 2], lbd=angles[wire, 0])
        for wire in range(n - 1):
            circuit.cz(wire, wire + 1)
        return circuit.state()

    def expectations(state: Array, weights: Array) -> Array:
        final = tc.Circuit(n, inputs=backend.scan(layer, weights, backend.cast(state, "complex64")))
        return backend.stack([backend.real(final.expectation_ps(z=[wire])) for wire in range(problem.readouts)])

    batched = backend.vmap(expectations, vectorized_argnums=0)

    def loss(states: Array, weights: Array) -> Array:
        return backend.sum(batched(states, weights) * cotangents)

    states, weights, cotangents = (backend.convert_to_tensor(a) for a in (problem.states, problem.weights, problem.cotangents))
    run, train, attack = backend.jit(batched), backend.jit(backend.value_and_grad(loss, 1)), backend.jit(backend.grad(loss, 0))
    return Steps(
        lambda: np.asarray(run(states, weights)),
        lambda: np.asarray(train(states, weights)[1]),
        lambda: np.asarray(attack(states, weights)),
    )
