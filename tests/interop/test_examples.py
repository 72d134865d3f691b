"""The example scripts run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS = {
    "interop_pennylane": "pennylane",
    "interop_qiskit": "qiskit_machine_learning",
    "interop_foolbox": "foolbox",
    "interop_art": "art",
    "interop_pyautoattack": "pyautoattack",
}


def test_every_script_is_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("interop_*.py")} == set(NEEDS)
    for script in NEEDS:
        text = (ROOT / "examples" / f"{script}.py").read_text()
        assert f'\n    pip install -e ".[interop]" && python examples/{script}.py\n' in text


@pytest.mark.slow
@pytest.mark.parametrize("script", NEEDS)
def test_it_prints_a_table(script, library) -> None:
    library(NEEDS[script])
    done = subprocess.run([sys.executable, f"examples/{script}.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 3
    assert "0." in lines[-1]
