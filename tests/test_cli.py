"""The command line, as a user meets it: outputs, exit statuses, one-line errors."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from qarmor import cli, models


@pytest.fixture
def qarmor(tmp_path, monkeypatch, capsys):
    """Run a command in a temporary folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(cli.out, "_width", 200)

    def run(*arguments):
        status = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def small(tmp_path, tiny):
    path = tmp_path / "small.npz"
    part = {"x_train": tiny.train.x, "y_train": tiny.train.y, "x_test": tiny.test.x, "y_test": tiny.test.y}
    np.savez(path, **{k: v.numpy() for k, v in part.items()})
    return path.name


def test_help_and_version(qarmor):
    status, text, _ = qarmor("--help")
    assert status == 0
    assert all(verb in text for verb in ("demo", "data", "train", "attack", "transfer", "run", "status", "verify", "report", "rows"))
    assert qarmor("--version")[1].startswith("qarmor 0")
    assert qarmor("data", "--help")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["train"], "Missing argument"),
        (["train", "digits", "vgg"], "unknown network 'vgg'; there are qvcN, convnet"),
        (["train", "digits", "qvc5", "--recipe", "best"], "has no recipe 'best'; it has paper, bare, tuned"),
        (["train", "digits", "qvc5", "--epochs", "0"], "epochs"),
        (["train", "digits", "qvc5", "--adversarial", "pgd"], "--adversarial and --eps go together"),
        (["train", "digits", "qvc5", "--device", "teapot"], "--device teapot: not available here"),
        (["train", "digits", "qvc5", "--seed", "-1"], "seed"),
        (["attack", "m", "digits", "--attack", "magic"], "unknown attack 'magic'; there are pgd, fgsm"),
        (["attack", "m", "digits", "--loss", "l2"], "loss must be one of"),
        (["attack", "m", "digits", "--attack", "fgsm", "--steps", "3"], "does not take these options"),
        (["attack", "m", "digits", "--eps", "8"], "--eps must be between 0 and 1"),
        (["attack", "none.safetensors", "digits"], "no network at none.safetensors"),
        (["detect", "mnist/linear", "none.safetensors", "digits"], "no network at none.safetensors"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(qarmor, arguments, message):
    status, _, error = qarmor(*arguments)
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith("qarmor: ")
    assert message in error


def test_failures_are_one_line_and_status_1(qarmor, tmp_path):
    (tmp_path / "bad.safetensors").write_text("nothing")
    for arguments, message in {
        ("attack", "bad.safetensors", "digits"): "not a whole safetensors file",
        ("data", "check", "nowhere.npz"): "there is no file nowhere.npz",
        ("data", "check", "minst"): "did you mean mnist?",
        ("train", "minst", "linear"): "did you mean mnist?",
    }.items():
        status, _, error = qarmor(*arguments)
        assert (status, error.count("\n")) == (1, 1), error
        assert message in error


def test_debug_shows_a_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-m", "qarmor", "--debug", "data", "check", "x.npz"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("network", ["qvc4", "linear"])
def test_train_then_attack(qarmor, small, tmp_path, network):
    status, text, error = qarmor("train", small, network, "--epochs", 3)
    assert status == 0, error
    assert "accuracy" in text
    assert "majority class 0.333" in text
    assert ("circuit kernel: cpu (auto" in text) == (network == "qvc4")
    file = tmp_path / f"small-{network}.safetensors"
    assert file.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([file.name, file.stem + ".history.json", small, "qarmor-results"])
    curve = json.loads((tmp_path / f"{file.stem}.history.json").read_text())
    assert len(curve["accuracy"]) == len(curve["accuracy_steps"]) > 0
    assert models.inspect(file).threads == 1
    status, text, error = qarmor("attack", file.name, small, "--eps", 0.1, "--eps", 0.3, "--steps", 5, "--images", 20, "--out", "rows/r.json")
    assert status == 0, error
    assert all(word in text for word in ("(clean)", "pgd (ce)", "pgd (margin)", "0.1", "0.3", "commonest class"))
    rows = json.loads((tmp_path / "rows" / "r.json").read_text())
    assert {(r["attack"], r["eps"], r["parameters"].get("loss")) for r in rows if r["attack"]} == {
        ("pgd", e, loss) for e in (0.1, 0.3) for loss in ("ce", "margin")
    }
    assert sum(r["attack"] == "" for r in rows) == 1


def test_adversarial_training_and_a_factory(qarmor, small, tmp_path, monkeypatch):
    (tmp_path / "mine_for_cli.py").write_text(
        "import torch\n"
        "def network(dataset):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))\n"
        "def trained():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))\n"
        "class Still:\n    name, parameters = 'still', {}\n    def __call__(self, model, x, y, eps, *, seed=0):\n        return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    status, text, error = qarmor("train", small, "linear", "--epochs", 2, "--adversarial", "pgd", "--eps", 0.1, "--out", "a/b.safetensors")
    assert status == 0, error
    assert (tmp_path / "a" / "b.safetensors").exists()
    status, text, error = qarmor("train", small, "mine_for_cli:network")
    assert status == 0, error
    assert "kept in qarmor-results" in text
    status, text, error = qarmor("attack", "mine_for_cli:trained", small, "--attack", "mine_for_cli:Still")
    assert status == 0, error
    assert "still" in text


def test_a_killed_training_goes_on(small, tmp_path):
    command = [sys.executable, "-m", "qarmor", "train", small, "qvc40", "--epochs", "4"]
    script = f"""
import os, sys
from qarmor import cli
from qarmor.studies.tasks import train
fit = train.fit
def dying(*a, on_progress=None, **k):
    def told(p):
        on_progress(p)
        if p.epoch == 3: os._exit(9)
    return fit(*a, on_progress=told, **k)
train.fit = dying
cli.run({command[3:]!r})
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == 9
    assert len(list((tmp_path / "qarmor-results" / "store" / "work").glob("*.checkpoint"))) == 1
    resumed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert resumed.returncode == 0, resumed.stderr
    first = (tmp_path / "small-qvc40.safetensors").read_bytes()
    journal = [json.loads(line)["event"] for line in (tmp_path / "qarmor-results" / "store" / "journal.jsonl").read_text().splitlines()]
    assert [journal.count(f"epoch {i}/4") for i in (1, 2, 3, 4)] == [1, 1, 2, 1]
    (tmp_path / "small-qvc40.safetensors").unlink()
    shutil.rmtree(tmp_path / "qarmor-results")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert (tmp_path / "small-qvc40.safetensors").read_bytes() == first


def test_warnings_are_one_line_without_code(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / f"{name}.bin").write_bytes(b"".join(bytes([label]) + b"a" * 3072 for label in (8, 9)))
    command = [sys.executable, "-m", "qarmor", "train", "cifar2", "linear", "--epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "QARMOR_DATA": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "tasks" not in line]
    assert len(notes) == 1
    assert notes[0].startswith("qarmor: note: ")


def test_data_list_and_check(qarmor, monkeypatch, tmp_path):
    monkeypatch.setenv("QARMOR_DATA", str(tmp_path))
    status, text, _ = qarmor("data", "list")
    assert status == 0
    assert all(name in text for name in ("digits", "mnist", "fashion-mnist", "cifar2", "celeba"))
    status, text, _ = qarmor("data", "check", "digits")
    assert status == 0
    assert "1438 training and 359 test images, 1x8x8" in text
    status, _, error = qarmor("data", "fetch", "celeba")
    assert status == 1
    assert "non-commercial" in error


def test_what_is_there_is_not_made_again(qarmor, small, tmp_path):
    assert qarmor("train", small, "linear", "--epochs", 2)[0] == 0
    journal = tmp_path / "qarmor-results" / "store" / "journal.jsonl"
    before = journal.read_text()
    first = (tmp_path / "small-linear.safetensors").read_bytes()
    assert qarmor("train", small, "linear", "--epochs", 2)[0] == 0
    assert journal.read_text() == before
    assert (tmp_path / "small-linear.safetensors").read_bytes() == first
    assert qarmor("train", small, "linear", "--epochs", 3)[0] == 0
    assert journal.read_text() != before


def test_transfer_trains_what_it_needs_once(qarmor, small, tmp_path):
    arguments = ("transfer", small, "--networks", "linear,qvc4", "--sources", "linear", "--eps", 0.2, "--steps", 3, "--epochs", 1, "--images", 20)
    status, text, error = qarmor(*arguments, "--out", "r.json")
    assert status == 0, error
    assert "attacked" in text
    rows = json.loads((tmp_path / "r.json").read_text())
    assert {(r["source"], r["target"]) for r in rows if r["source"]} == {("linear", "linear"), ("linear", "qvc4")}
    assert {r["parameters"]["loss"] for r in rows if r["source"]} == {"margin"}
    status, _, error = qarmor(*arguments[:2], "--networks", "linear", "--sources", "mlp")
    assert status == 2
    assert "--sources mlp: not among --networks (linear)" in error


STUDY = """
title = "Small"
images = { few = 12 }
[datasets.small]
source = "small.npz"
[networks.linear]
epochs = 1
[networks.qvc4]
epochs = 1
[attacks.pgd]
steps = 2
[sections.crossed]
kind = "transfer"
title = "Crossed"
sources = ["linear"]
targets = ["linear", "qvc4"]
attacks = ["pgd"]
eps = [0.1]
images = "few"
[sections.clean]
kind = "clean"
title = "Clean"
networks = ["linear"]
[presets.smoke]
images.few = 10
"""


def test_a_study_from_dry_run_to_verify(qarmor, small, tmp_path, caplog):
    (tmp_path / "mine.toml").write_text(STUDY)
    status, text, error = qarmor("run", "mine.toml", "--dry-run")
    assert status == 0, error
    assert "8 tasks to do: about" in text
    assert not (tmp_path / "mine").exists()
    status, text, error = qarmor("run", "mine.toml", "--engine", "inline", "--only", "clean")
    assert status == 0, error
    assert "not run" in (tmp_path / "mine" / "index.html").read_text()
    assert "1" in qarmor("status", "mine")[1]
    status, text, error = qarmor("run", "mine.toml", "--engine", "inline")
    assert status == 0, error
    assert (tmp_path / "mine" / "index.html").exists()
    rows = json.loads(qarmor("rows", "mine", "--json")[1])
    assert {row["n"] for row in rows if row["metric"] == "accuracy"} == {12, 30}
    assert qarmor("rows", "mine", "--csv")[1].startswith("dataset,source,target,attack")
    assert "linear" in qarmor("rows", "mine")[1]
    status, text, error = qarmor("verify", "mine")
    assert (status, error.count("problem")) == (0, 0)
    assert "no problems" in text
    victim = next((tmp_path / "mine" / "store" / "objects").rglob("adversarials.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    status, _, error = qarmor("verify", "mine")
    assert status == 1
    assert "was changed after it was written" in error
    status, _, error = qarmor("run", "mine.toml", "--engine", "inline")
    assert status == 0
    assert "set aside" in caplog.text
    assert qarmor("verify", "mine")[0] == 0
    assert json.loads(qarmor("rows", "mine", "--json")[1]) == rows
    assert qarmor("report", "mine")[0] == 0
    status, _, error = qarmor("run", "mine.toml", "--preset", "smoke")
    assert status == 1
    assert "--out mine: it holds study 'mine'; give another folder to this one" in error


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "nothing.toml"], 2, "no study 'nothing.toml': neither a file nor one of digits, west2023"),
        (["run", "mine.toml", "--preset", "full"], 2, "it has no preset 'full'; it has smoke"),
        (["run", "mine.toml", "--only", "fig9"], 2, "--only fig9: neither a data set (small) nor a section (crossed, clean)"),
        (["run", "mine.toml", "--shard", "0/2"], 2, "--shard must be i/n with i from 1 to n, e.g. 1/4, got '0/2'"),
        (["run", "mine.toml", "--scheduler", "tcp://127.0.0.1:9", "--out", "s"], 1, "no Dask scheduler answers there"),
        (["status", "nowhere"], 1, "nowhere is not the folder of a study"),
        (["rows", "nowhere"], 1, "nowhere is not the folder of a study"),
        (["run", "mine.toml", "--out", "mine.toml/below", "--engine", "inline"], 1, "a part of that path is a file"),
    ],
)
def test_wrong_use_of_studies(qarmor, small, tmp_path, arguments, status, message):
    (tmp_path / "mine.toml").write_text(STUDY)
    found, _, error = qarmor(*arguments)
    assert found == status, error
    assert message in error
