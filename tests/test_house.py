"""The house: who imports whom, what importing loads, and what the package promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qarmor

PACKAGE = Path(qarmor.__file__).parent
# What each module may import of ours; its own module always, and what is not here not at all.
ALLOWED = {
    "__init__": {"attacks", "circuits", "data", "evaluation", "models", "report", "training", "types"},
    "__main__": {"cli"},
    "types": set(),
    "data": {"types"},
    "circuits": set(),
    "models": {"circuits", "types"},
    "attacks": {"types"},
    "training": {"types"},
    "evaluation": {"types", "attacks", "circuits.ansatz"},
    "report": {"types"},
    "testing": {"types", "attacks"},
    "studies": {"types", "data", "circuits", "models", "attacks", "training", "evaluation", "report"},
    "cli": {"__init__", "types", "circuits", "data", "models", "attacks", "training", "evaluation", "studies", "report"},
}
# Within circuits.
CIRCUITS = {
    "__init__": {"ansatz", "choice", "noise"},
    "choice": {"ansatz", "reference", "kron", "cpu"},
    "ansatz": set(),
    "reference": {"ansatz"},
    "kron": {"ansatz"},
    "cpu": {"ansatz", "kron"},
    "dense": {"choice", "cpu", "kron"},
    "pauli": set(),
    "noise": {"ansatz", "cpu", "pauli"},
}


def imported(path: Path) -> set[str]:
    """Dotted names under qarmor that the file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "qarmor"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "qarmor":
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
    return {name.removeprefix("qarmor").removeprefix(".") for name in names}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        target = name.split(".")[0]
        if target not in ALLOWED:  # a name of the package itself, e.g. __version__
            target = "__init__"
        fine = target == room or target in ALLOWED[room] or any(name.startswith(a) for a in ALLOWED[room] if "." in a)
        assert fine, f"{path}: {room} must not import {name}"


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(PACKAGE).parts[0] == "circuits"], ids=lambda p: p.name)
def test_imports_within_circuits(path):
    corner = path.relative_to(PACKAGE).parts[1].removesuffix(".py")
    for name in imported(path):
        if name.startswith("circuits."):
            target = name.split(".")[1]
            target = target if target in CIRCUITS else "__init__"
            assert target == corner or target in CIRCUITS[corner], f"{path}: {corner} must not import {name}"


def test_every_room_is_in_the_table():
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in FILES}
    assert rooms == set(ALLOWED)


def loaded(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_or_asking_for_help_loads_nothing_heavy():
    help_text = "from qarmor.cli import run\nrun(['--help'])\nrun(['train', '--help'])"
    for code in ("import qarmor", help_text):
        assert not loaded(code) & {"torch", "numba", "matplotlib", "dask", "sklearn"}


def test_models_and_attacks_load_no_numba_or_matplotlib():
    assert not loaded("import qarmor.models, qarmor.attacks, qarmor.evaluation, qarmor.training") & {"numba", "matplotlib", "dask"}


def test_public_names_resolve():
    for name in qarmor.__all__:
        assert getattr(qarmor, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'; it has .*QVC"):
        _ = qarmor.nonsense


def test_no_file_is_too_long():
    long = {str(p.relative_to(PACKAGE)): n for p in FILES if (n := p.read_text().count("\n")) > 400}
    assert not long


def test_no_pickle_hasattr_eval_or_bare_except():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"hasattr", "eval", "exec", "os.system", "torch.load", "pickle.load"}, path
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, path
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: raise instead, python -O drops asserts"
