"""Counts of gates against other libraries, the paper's numbers and sampling; `qarmor resources`."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from qarmor import cli, models
from qarmor.circuits.ansatz import Ansatz
from qarmor.evaluation.resources import PAPER, decomposed, preparation, resources, shots_a_prediction, weighted_layers


def vector(qubits, amplitudes):
    real = torch.rand(1 << qubits).double()
    return torch.polar(real, 6 * torch.rand(1 << qubits).double()) if amplitudes == "complex" else real


@pytest.mark.parametrize("amplitudes", ["real", "complex"])
@pytest.mark.parametrize("qubits", [1, 2, 3, 4, 7, 10])
def test_the_formula_is_what_pennylane_does(qubits, amplitudes, seed):
    pytest.importorskip("pennylane", reason="PennyLane is not installed (extra: interop)")
    ours, theirs = preparation(qubits, amplitudes), decomposed(vector(qubits, amplitudes), "pennylane")
    assert dict(theirs.gates) == {kind: number for kind, number in ours.gates.items() if number}
    assert theirs.depth == ours.depth
    assert (theirs.amplitudes, theirs.method, theirs.total) == (amplitudes, "pennylane", ours.total)


@pytest.mark.parametrize("amplitudes", ["real", "complex"])
@pytest.mark.parametrize("qubits", [2, 3, 5, 8])
def test_qiskit_s_isometry_has_its_published_count(qubits, amplitudes, seed):
    """Iten et al., table 1: a state of n qubits takes 2^n - n - 1 CNOT; and 2^n - 1 rotations of one qubit."""
    pytest.importorskip("qiskit", reason="Qiskit is not installed (extra: interop)")
    found = decomposed(vector(qubits, amplitudes), "qiskit")
    assert dict(found.gates) == {"CNOT": 2**qubits - qubits - 1, "U": 2**qubits - 1}
    assert found.depth <= preparation(qubits, "complex").depth


@pytest.mark.parametrize(("amplitudes", "rotations"), [("real", 1), ("complex", 2)])
def test_preparation_in_numbers(amplitudes, rotations):
    ten = preparation(10, amplitudes)
    assert ten.total == rotations * 2045
    assert ten.gates["RY"] == 1023
    assert ten.gates.get("RZ", 0) == (1023 if rotations == 2 else 0)
    assert preparation(1, amplitudes).total == rotations
    if rotations == 1:  # every CNOT of qubit k waits for qubit k - 1, only its first rotation does not
        assert [preparation(n, "real").depth for n in range(1, 11)] == [1] + [2 ** (n + 1) - n - 2 for n in range(2, 11)]


def test_a_qvc200_with_encoding_beside_the_paper():
    found = resources(Ansatz(10, 200))
    assert (found.qubits, found.layers, found.parameters, found.gates_per_layer) == (10, 200, 6000, 39)
    assert found.gates == {"RZ": 4000, "RY": 2000, "CZ": 1800}
    assert PAPER["gates a layer"] == str(found.gates_per_layer)
    real, complex_ = found.preparations
    assert (found.gates_with(real), found.gates_with(complex_)) == (9845, 11890)  # claim 13: the one within 10^3 to 10^4, the other not
    assert found.depth == Ansatz(10, 200).depth
    assert found.shots is None
    entry = json.loads(json.dumps(found.to_dict()))
    assert (entry["gates_real"], entry["gates_complex"]) == (9845, 11890)
    assert [each["amplitudes"] for each in entry["preparations"]] == ["real", "complex"]
    assert [resources(Ansatz(*size)).parameters for size in ((10, 500), (10, 1000), (12, 200), (12, 500))] == [15000, 30000, 7200, 18000]  # Table I


def test_depth_of_the_ansatz_is_that_of_its_gates_in_order(seed):
    qubits, layers = int(torch.randint(1, 8, ())), int(torch.randint(0, 12, ()))
    done = [0] * qubits
    count = 0
    for _ in range(layers):
        for wires in [[q] for q in range(qubits)] * 3 + [[q, q + 1] for q in range(qubits - 1)]:
            latest = max(done[q] for q in wires) + 1
            for q in wires:
                done[q] = latest
            count += 1
    found = resources(Ansatz(qubits, layers))
    assert (found.depth, sum(found.gates.values())) == (max(done), count)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_bound_on_shots_holds_when_sampled(classes, seed):
    """Readouts of one shot together, as different as a gap allows: z_0 = 1 where the others are -1."""
    gap, error = 0.5, 0.1
    shots = int(shots_a_prediction(torch.tensor([gap]), classes, error)[0])
    assert shots == math.ceil(8 * math.log((classes - 1) / error) / gap**2)
    plus = (gap / 2 + 1) / 2  # <z_0 - z_j> = 2 (2 plus - 1) = gap
    trials = 4000
    wins = torch.distributions.Binomial(shots, torch.tensor(plus)).sample((trials,))
    wrong = (wins <= shots / 2).double().mean()
    assert wrong <= error
    few = torch.distributions.Binomial(max(shots // 20, 1), torch.tensor(plus)).sample((trials,))
    assert (few <= max(shots // 20, 1) / 2).double().mean() > error


def test_shots_of_many_images():
    shots = shots_a_prediction(torch.tensor([0.0, 0.1, 2.0]), 10)
    assert shots.dtype == torch.float64
    assert shots.tolist() == [math.inf, math.ceil(800 * math.log(180)), math.ceil(2 * math.log(180))]
    assert resources(Ansatz(3, 1), gaps=torch.tensor([0.1, 0.2, 0.3]), classes=2).shots == math.ceil(200 * math.log(20))
    assert resources(Ansatz(3, 1), gaps=torch.zeros(3)).shots is None


def test_layers_as_papers_count_them():
    assert weighted_layers(models.ConvNet((1, 28, 28), 10)) == 5
    assert weighted_layers(models.ResNet18((1, 28, 28), 10)) == 18
    assert weighted_layers(models.Linear((4,), 2)) == 1


def test_bad_arguments():
    for call, message in (
        (lambda: preparation(0, "real"), "qubits must be a whole number from 1 to 14, got 0"),
        (lambda: preparation(True, "real"), "qubits must be a whole number from 1 to 14, got True"),
        (lambda: preparation(3, "imaginary"), "amplitudes must be 'real' or 'complex', got 'imaginary'"),
        (lambda: decomposed(torch.ones(3), "qiskit"), r"vector must have 2\^n values, n from 1 to 14, got shape \(3,\); pad it with zeros"),
        (lambda: decomposed(torch.ones(2, 2), "qiskit"), r"got shape \(2, 2\)"),
        (lambda: decomposed(torch.ones(1), "qiskit"), r"got shape \(1,\)"),
        (lambda: decomposed(torch.zeros(4), "qiskit"), "vector must not be all zero"),
        (lambda: decomposed(torch.ones(4), "cirq"), "library must be one of pennylane, qiskit, got 'cirq'"),
        (lambda: shots_a_prediction(torch.tensor([3.0]), 2), r"gaps must be .* in \[0, 2\], got shape \(1,\); divide logits by their scale"),
        (lambda: shots_a_prediction(torch.tensor([]), 2), r"gaps must be .*got shape \(0,\)"),
        (lambda: shots_a_prediction(torch.tensor([math.nan]), 2), "gaps must be"),
        (lambda: shots_a_prediction(torch.tensor([0.1]), 1), "classes must be a whole number, 2 or more, got 1"),
        (lambda: shots_a_prediction(torch.tensor([0.1]), 2, 1.0), r"error must be between 0 and 1, got 1\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_library_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "pennylane", None)
    with pytest.raises(ImportError, match=r"counting the gates of pennylane needs it, and it is not installed: pip install qarmor\[interop\]"):
        decomposed(torch.ones(4), "pennylane")


@pytest.fixture
def qarmor(tmp_path, monkeypatch, capsys):
    """Run a command in a temporary folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.out, "_width", 250)

    def run(*arguments):
        status = cli.run(["resources", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_the_table_of_a_quantum_network(qarmor):
    status, text, _ = qarmor("qvc200")
    assert status == 0
    for words in (
        "qvc200 for mnist",
        "6,000",
        "4,000 RZ, 2,000 RY, 1,800 CZ",
        "9,845",
        "11,890",
        "a few thousand",
        "below 0.5 % or so",
        "4000; about 5000",
    ):
        assert words in text
    assert "Shots need a trained network" in text
    status, text, _ = qarmor("qvc3", "--dataset", "cifar2", "--json")
    found = json.loads(text)
    assert (status, found["kind"], found["dataset"], found["qubits"], found["layers"]) == (0, "quantum", "cifar2", 12, 3)
    assert found["gates_real"] == 141 + 2**13 - 3


def test_a_file_with_a_data_set_has_shots(qarmor, tmp_path, tiny):
    file = models.save(models.QVC.for_dataset(tiny, 2), tmp_path / "net.safetensors", dataset="tiny")
    arrays = {f"{kind}_{part}": getattr(getattr(tiny, part), kind).numpy() for kind in "xy" for part in ("train", "test")}
    np.savez(tmp_path / "tiny.npz", **arrays)
    status, text, _ = qarmor(file, "--json")
    assert status == 0
    assert (json.loads(text)["dataset"], json.loads(text)["shots"]) == ("tiny", None)
    status, text, _ = qarmor(file, "--dataset", "tiny.npz", "--json")
    assert status == 0
    shots = json.loads(text)["shots"]
    assert shots > 2
    assert f"at most {shots:,}" in qarmor(file, "--dataset", "tiny.npz")[1]


@pytest.mark.parametrize("library", ["pennylane", "qiskit"])
def test_the_encoding_as_a_library_does_it(qarmor, library):
    pytest.importorskip(library, reason=f"{library} is not installed (extra: interop)")
    status, text, _ = qarmor("qvc1", "--dataset", "digits", "--library", library)
    assert status == 0
    assert f"encoding, real amplitudes, by {library}" in text
    found = json.loads(qarmor("qvc1", "--dataset", "digits", "--library", library, "--json")[1])["decomposed"]
    assert found["library"] == library
    assert 0 < sum(found["gates"].values()) <= preparation(10, "real").total


def test_a_classical_network_has_parameters_and_layers(qarmor):
    status, text, _ = qarmor("convnet", "--json")
    assert status == 0
    assert json.loads(text) == {"network": "convnet", "dataset": "mnist", "kind": "classical", "parameters": 962314, "layers": 5}
    status, text, _ = qarmor("linear", "--dataset", "digits")
    assert status == 0
    assert "650" in text
    assert "linear is a classical network: it has no circuit, gates or shots." in text


def test_wrong_usage_is_one_line(qarmor):
    for arguments, words in (
        (("nonsense",), "unknown network 'nonsense'"),
        (("none.safetensors",), "no network at none.safetensors"),
        (("qvc2", "--dataset", "nowhere"), "nowhere"),
        (("qvc2", "--library", "cirq"), "--library must be one of pennylane, qiskit, got cirq"),
        (("qvc2", "--error", "1"), "--error must be between 0 and 1, got 1"),
        (("linear", "--dataset", "digits", "--library", "pennylane"), "linear is a classical network, which encodes no image"),
        (("x.safetensors", "--library", "qiskit"), "--library needs an image to encode: give --dataset"),
    ):
        status, text, error = qarmor(*arguments)
        assert (status, text) == (2, "")
        assert words in error
        assert error.count("\n") == 1
