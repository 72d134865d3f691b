"""qujax: a circuit a layer in ``jax.lax.scan``, the batch by ``jax.vmap``, all under ``jax.jit``."""

import jax
import jax.numpy as jnp
import numpy as np
import qujax

from peers._contract import Problem, Steps


def _rot(phi: jax.Array, theta: jax.Array, omega: jax.Array) -> jax.Array:
    """RZ(omega) RY(theta) RZ(phi) as one gate, of angles in units of pi as all of qujax's."""
    return qujax.gates.Rz(omega) @ qujax.gates.Ry(theta) @ qujax.gates.Rz(phi)


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    n = problem.qubits
    gates = [_rot] * n + ["CZ"] * (n - 1)
    wires = [[w] for w in range(n)] + [[w, w + 1] for w in range(n - 1)]
    parameters = [[3 * w, 3 * w + 1, 3 * w + 2] for w in range(n)] + [[] for _ in range(n - 1)]
    layer = qujax.get_params_to_statetensor_func(gates, wires, parameters, n)
    readouts = [qujax.get_statetensor_to_expectation_func([["Z"]], [[w]], [1.0]) for w in range(problem.readouts)]

    def expectations(state: jax.Array, weights: jax.Array) -> jax.Array:
        initial = state.astype(jnp.complex64).reshape((2,) * n)
        final, _ = jax.lax.scan(lambda psi, angles: (layer(angles, psi), None), initial, weights.reshape(-1, 3 * n) / jnp.pi)
        return jnp.stack([readout(final) for readout in readouts])

    batched = jax.vmap(expectations, (0, None))

    def loss(states: jax.Array, weights: jax.Array) -> jax.Array:
        return (batched(states, weights) * cotangents).sum()

    states, weights, cotangents = (jnp.asarray(a) for a in (problem.states, problem.weights, problem.cotangents))
    run, train, attack = jax.jit(batched), jax.jit(jax.value_and_grad(loss, 1)), jax.jit(jax.grad(loss, 0))
    return Steps(
        lambda: np.asarray(run(states, weights)),
        lambda: np.asarray(train(states, weights)[1]),
        lambda: np.asarray(attack(states, weights)),
    )
