"""``python -m qarmor``."""

from qarmor.cli import main

main()
