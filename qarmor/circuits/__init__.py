"""Layered circuits: ``expectations`` validates, chooses an implementation and differentiates."""

from qarmor.circuits.ansatz import Ansatz
from qarmor.circuits.choice import IMPLEMENTATIONS, Choice, choose, expectations
from qarmor.circuits.noise import Noise

__all__ = ["IMPLEMENTATIONS", "Ansatz", "Choice", "Noise", "choose", "expectations"]
