"""The command line. Verbs are thin: each parses its arguments, runs a study or calls the library, and prints. torch is imported inside them."""

from qarmor.cli import data, one_offs, studies
from qarmor.cli.app import main, out, run

__all__ = ["data", "main", "one_offs", "out", "run", "studies"]
