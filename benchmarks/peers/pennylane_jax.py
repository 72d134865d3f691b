"""PennyLane's default.qubit with the JAX interface under ``jax.jit``: a QNode a layer in ``jax.lax.scan``, the batch by parameter broadcasting."""

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml

from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    wires = range(problem.qubits)
    device = qml.device("default.qubit", wires=problem.qubits)

    @qml.qnode(device, interface="jax", diff_method="backprop")
    def layer(states: jax.Array, angles: jax.Array) -> qml.measurements.StateMP:
        qml.StatePrep(states, wires=wires, validate_norm=False)
        for wire in wires:
            qml.Rot(angles[wire, 0], angles[wire, 1], angles[wire, 2], wires=wire)
        for wire in wires[:-1]:
            qml.CZ((wire, wire + 1))
        return qml.state()

    @qml.qnode(device, interface="jax", diff_method="backprop")
    def readouts(states: jax.Array) -> list[qml.measurements.ExpectationMP]:
        qml.StatePrep(states, wires=wires, validate_norm=False)
        return [qml.expval(qml.Z(wire)) for wire in wires[: problem.readouts]]

    def expectations(states: jax.Array, weights: jax.Array) -> jax.Array:
        final, _ = jax.lax.scan(lambda psi, angles: (layer(psi, angles), None), states.astype(jnp.complex64), weights)
        return jnp.stack(readouts(final), 1)

    def loss(states: jax.Array, weights: jax.Array) -> jax.Array:
        return (expectations(states, weights) * cotangents).sum()

    states, weights, cotangents = (jnp.asarray(a) for a in (problem.states, problem.weights, problem.cotangents))
    run, train, attack = jax.jit(expectations), jax.jit(jax.value_and_grad(loss, 1)), jax.jit(jax.grad(loss, 0))
    return Steps(
        lambda: np.asarray(run(states, weights)),
        lambda: np.asarray(train(states, weights)[1]),
        lambda: np.asarray(attack(states, weights)),
    )
