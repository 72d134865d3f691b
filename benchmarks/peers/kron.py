"""Plain PyTorch: each layer as two Kronecker factors and a sign, ``qarmor.circuits.kron``; autograd."""

from peers import qarmor_unfrozen
from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    return qarmor_unfrozen.build(problem, implementation="kron")
