"""Every implementation against the reference, for every circuit and dtype of the table in conftest.py."""

import torch

from qarmor.circuits import expectations


def test_agrees_with_autograd_of_the_reference(case, problem, from_reference, compare):
    states, weights, cotangent = problem
    wanted, wanted_states, wanted_weights = from_reference
    out = expectations(states, weights, implementation=case.implementation)
    assert out.dtype == case.real
    compare(out, wanted, "expectations")
    (out * cotangent).sum().backward()
    compare(states.grad, wanted_states, "gradient for the states")
    if case.layers:
        compare(weights.grad, wanted_weights, "gradient for the weights")
        assert (weights.grad[-1, :, 2] == 0).all() or case.implementation != "cpu", "the last omega does not reach <Z>"


def test_fewer_readouts_are_the_first_ones(case, problem, compare):
    states, weights, _ = problem
    with torch.no_grad():
        every = expectations(states, weights, implementation=case.implementation)
        for readouts in {1, (case.qubits + 1) // 2}:
            some = expectations(states, weights, readouts, implementation=case.implementation)
            compare(some, every[..., :readouts].to(torch.float64), f"{readouts} readouts")


def test_one_gradient_alone_is_the_same(case, problem):
    states, weights, cotangent = problem
    (expectations(states, weights, implementation=case.implementation) * cotangent).sum().backward()
    alone = states.detach().clone().requires_grad_()
    (expectations(alone, weights.detach(), implementation=case.implementation) * cotangent).sum().backward()
    torch.testing.assert_close(alone.grad, states.grad, rtol=1e-4, atol=1e-6)
    if case.layers:
        other = weights.detach().clone().requires_grad_()
        (expectations(states.detach(), other, implementation=case.implementation) * cotangent).sum().backward()
        torch.testing.assert_close(other.grad, weights.grad, rtol=1e-4, atol=1e-6)
