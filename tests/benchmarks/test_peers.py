"""The peer benchmark: one contract for all, and nothing wrong, missing or dead goes by unseen."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from peers import _check, _race, _registry, _show
from peers._contract import STEPS, Steps, problem

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE = _race.Size(qubits=4, layers=3, batch=8, seconds=0.01)
GOOD = """
from peers import kron

def build(problem):
    return kron.build(problem)
"""
WRONG = """
from peers import kron
from peers._contract import Steps

def build(problem):
    right = kron.build(problem)

    def broken():
        raise ValueError("out of qubits\\nand of lines")

    return Steps(broken, lambda: -right.train(), lambda: right.attack() * float("nan"))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Makes a peer of some source, which its process finds as this one does."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(source: str, **options) -> _registry.Peer:
        (tmp_path / "made_up.py").write_text(textwrap.dedent(source))
        return _registry.Peer("made_up", "Made up", ("made-up-package",), module="made_up", **options)

    return made


def checked(peer: _registry.Peer, size: _race.Size = SIZE, repeats: int = 0) -> dict[str, _race.Cell]:
    runner = _race.Runner(peer)
    try:
        cells = _race.check([runner], size)
        if repeats:
            _race.race([runner], cells, repeats)
    finally:
        runner.stop()
    return {cell.step: cell for cell in cells}


def test_every_script_is_in_the_table_and_says_its_mode():
    scripts = {path.stem for path in (BENCHMARKS / "peers").glob("*.py") if not path.stem.startswith("_")}
    assert scripts == set(_registry.PEERS)
    assert all(peer.mode for peer in _registry.PEERS.values())


def test_pins_and_extra_name_what_peers_need():
    root = BENCHMARKS.parent
    pins = {line.split("==")[0].lower().replace("_", "-") for line in (root / "constraints-bench.txt").read_text().splitlines()}
    wanted = {name.replace("_", "-") for peer in _registry.PEERS.values() for name in peer.packages}
    assert wanted <= pins
    extra = next(line for line in (root / "pyproject.toml").read_text().splitlines() if line.startswith("bench = "))
    assert all(f'"{name}' in extra for name in wanted - {"pennylane-lightning"})  # which pennylane brings


def test_problem_is_the_same_everywhere_and_has_zeros_as_images_do():
    given, again = problem(5, 2, 7, 5), problem(5, 2, 7, 5)
    assert all(np.array_equal(getattr(given, name), getattr(again, name)) for name in ("states", "weights", "cotangents"))
    assert np.allclose(np.linalg.norm(given.states, axis=1), 1, atol=1e-6)
    assert (given.states >= 0).all()
    assert 0.1 < (given.states == 0).mean() < 0.6
    assert (given.batch, given.qubits, given.layers, given.readouts) == (7, 5, 2, 5)


def test_a_step_is_given_or_its_absence_explained():
    with pytest.raises(ValueError, match="attack must be given, or unable must say why"):
        Steps(lambda: np.zeros(1), lambda: np.zeros(1))


@pytest.mark.parametrize("name", _registry.PEERS)
def test_peers_agree(name):
    peer = _registry.PEERS[name]
    for step, cell in checked(peer).items():
        if cell.note.startswith("not installed"):
            pytest.skip(cell.note)
        assert not cell.note or cell.known, f"{step}: {cell.note}"
        assert cell.note or cell.error <= _check.TOLERANCE
        assert not cell.note or step in peer.known


def test_a_wrong_peer_is_caught_and_not_timed(script):
    cells = checked(script(WRONG), repeats=1)
    assert cells["forward"].note == "ValueError: out of qubits"
    assert cells["train"].note == "wrong, error 2.0e+00 of the largest element"
    assert cells["attack"].note == "wrong, 32 of 32 elements are not finite"
    assert not any(cell.times or cell.known for cell in cells.values())


def test_what_is_known_to_be_wrong_is_said_with_its_reason(script):
    cells = checked(script(WRONG, known={"train": "it counts backwards"}))
    assert cells["train"].known
    assert cells["train"].note.endswith(": it counts backwards")
    assert not cells["attack"].known


def test_a_right_peer_is_timed(script):
    for cell in checked(script(GOOD), repeats=3).values():
        assert not cell.note
        assert len(cell.times) == 3
        assert 2 <= cell.batch <= SIZE.batch
        assert cell.ms > 0


def test_a_wrong_shape_is_caught():
    error, wrong = _check.error("forward", np.zeros((2, 3)), 4, 3, 4)
    assert error == float("inf")
    assert wrong == "shape (2, 3), not (2, 4)"


def test_gradients_are_compared_along_the_sphere_only():
    states = problem(4, 3, 2, 4).states.astype(float)
    right = _check.reference(4, 3, 4)["attack"]
    assert _check.error("attack", right + 5 * states, 4, 3, 4)[1] == ""
    tilted = right.copy()
    tilted[0, 0] += 1e-2
    assert _check.error("attack", tilted, 4, 3, 4)[1].startswith("error ")


def test_a_missing_package_is_said_with_how_to_get_it(script):
    cells = checked(script("import not_there_at_all\n"), repeats=1)
    wanted = "not installed (not_there_at_all is missing): pip install -c constraints-bench.txt made-up-package"
    assert {cell.note for cell in cells.values()} == {wanted}
    assert all(cell.known for cell in cells.values())


def test_a_package_that_does_not_import_is_no_reason_to_stop(script):
    cells = checked(script("raise ImportError('needs an older friend')\n"))
    assert {cell.note for cell in cells.values()} == {"ImportError: needs an older friend"}
    assert not any(cell.known for cell in cells.values())


def test_a_peer_whose_process_dies_is_said_and_the_others_go_on(script):
    dying = script("import os\n\ndef build(problem):\n    os._exit(3)\n")
    runners = [_race.Runner(dying), _race.Runner(_registry.PEERS["kron"])]
    try:
        cells = _race.check(runners, SIZE)
        _race.race(runners, cells, 1)
    finally:
        for runner in runners:
            runner.stop()
    notes = {cell.peer.name: cell.note for cell in cells}
    assert notes["made_up"].startswith("its process ended with code 3")
    assert notes["kron"] == ""


def test_text_shows_numbers_and_reasons():
    peers = _registry.PEERS
    cells = [_race.Cell(peers["qarmor"], step, SIZE, setup=0.5, batch=8, times=[1e-3, 2e-3, 9e-3]) for step in STEPS]
    cells += [_race.Cell(peers["kron"], step, SIZE, setup=0.0, batch=4, times=[8e-3]) for step in STEPS[:2]]
    cells += [_race.Cell(peers["kron"], "attack", SIZE, setup=0.0, note="wrong, error 1 of the largest element")]
    rows = _race.rows(cells)
    assert [row["ratio"] for row in rows] == [1, 1, 1, 4, 4, None]
    lines = _show.text(rows).splitlines()
    assert lines[2].split() == ["plain", "PyTorch", "(kron)", "8", "4", "8", "4", "[1]", "4/4/-", "0.0"]
    assert lines[3] == "[1] plain PyTorch (kron): wrong, error 1 of the largest element"


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARKS / "peers.py"), *arguments], capture_output=True, text=True, check=False)


def test_the_script_writes_table_json_and_figure(tmp_path):
    sizes = ["--qubits", "3", "--layers", "2", "--batch", "4", "--sweep", "2", "3", "--sweep-layers", "1"]
    done = ran("--peers", "qarmor", "qarmor_unfrozen", "kron", "deepquantum", *sizes, "--repeats", "1", "--seconds", "0.01", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "plain PyTorch (kron)" in done.stdout
    assert "DeepQuantum" in done.stdout
    written = json.loads((tmp_path / "peers.json").read_text())
    assert {"torch", "numba", "python"} <= set(written["machine"]["versions"])
    assert written["machine"]["date"]
    assert written["machine"]["processor"]
    assert len(written["rows"]) == 3 * 4 * 3
    for row in written["rows"]:
        assert row["ms_per_sample"] is None if row["note"] else row["ms_per_sample"] > 0
    assert (tmp_path / "peers.svg").read_text().count("<svg") == 1


def test_only_check_writes_nothing(tmp_path):
    done = ran("--peers", "qarmor", "kron", "--qubits", "3", "--layers", "2", "--only-check", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "forward error" in done.stdout
    assert not list(tmp_path.iterdir())


def test_sizes_out_of_range_are_refused():
    done = ran("--qubits", "15")
    assert done.returncode == 2
    assert "qubits must be from 2 to 14, got [4, 6, 8, 10, 12, 15]" in done.stderr
