"""The command line. Verbs are thin: each parses its arguments, runs a study or calls the library, and prints. torch is imported inside them."""

from qarmor.cli import data, detect, models, one_offs, resources, studies
from qarmor.cli.app import main, out, run

__all__ = ["data", "detect", "main", "models", "one_offs", "out", "resources", "run", "studies"]
