"""The circuit on the CPU, compiled by numba."""

from qarmor.circuits.cpu.kernel import Expectations, adjoint, amplitudes, forward

__all__ = ["Expectations", "adjoint", "amplitudes", "forward"]
