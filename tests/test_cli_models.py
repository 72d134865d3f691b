"""`qarmor models`, and its names where a model is asked for."""

import json
import shutil

import numpy as np
import pytest

from qarmor import cli, models
from qarmor.models import shipped


@pytest.fixture
def qarmor(tmp_path, monkeypatch, capsys):
    """Run a command in a temporary folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.out, "_width", 200)

    def run(*arguments):
        status = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_table(qarmor):
    status, text, _ = qarmor("models")
    assert status == 0
    for network in shipped.shipped():
        line = next(line for line in text.splitlines() if f" {network.name} " in line)
        for measured in (network.clean, *network.robust):
            assert f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]" in line
        assert network.recipe in line
        assert f"{network.parameters:,}" in line
        assert f"{network.dataset}/*: {network.command}" in text
    assert "pgd (40 steps, loss margin) on the network itself, 250 images" in text


def test_json(qarmor):
    status, text, _ = qarmor("models", "--json")
    assert status == 0
    entries = {entry["name"]: entry for entry in json.loads(text)}
    assert list(entries) == [network.name for network in shipped.shipped()]
    entry, network = entries["mnist/qvc200"], next(n for n in shipped.shipped() if n.name == "mnist/qvc200")
    assert entry["dataset"] == "mnist"
    assert models.inspect(entry["file"]).architecture == "QVC"
    assert entry["clean"]["value"] == network.clean.value == entry["clean"]["successes"] / entry["clean"]["n"]
    assert [(each["eps"], each["value"]) for each in entry["robust"]] == [(each.eps, each.value) for each in network.robust]
    assert entry["command"].startswith("qarmor run west2023 --preset ")


def test_networks_made_by_different_commands_are_named(qarmor, monkeypatch):
    from dataclasses import replace

    first, second, other = (n for n in shipped.shipped() if n.name in ("mnist/qvc200", "mnist/linear", "cifar2/linear"))
    monkeypatch.setattr(shipped, "shipped", lambda: (first, replace(second, command="qarmor run mine"), replace(other, command="qarmor run mine")))
    text = qarmor("models")[1]
    assert f"{first.name}: {first.command}" in text
    assert f"{second.name}, cifar2/*: qarmor run mine" in text


def test_help_names_it(qarmor):
    assert "models" in qarmor("--help")[1]


@pytest.fixture
def noise(tmp_path):
    """Images of MNIST's shape with nothing on them."""
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.random((20, 28, 28), dtype=np.float32) for part in ("train", "test")}
    np.savez(tmp_path / "noise.npz", **images, **{f"y_{part}": np.arange(20) % 10 for part in ("train", "test")})


def test_a_name_is_a_model(qarmor, noise, tmp_path):
    """Attacked by its name and by its file, a network is the same."""
    file = shipped.saved_file("mnist/linear")
    found = {}
    for label, model in (("name", "mnist/linear"), ("file", file)):
        arguments = ("--attack", "fgsm", "--loss", "ce", "--images", "10", "--out", f"{label}.json")
        status, _, err = qarmor("attack", model, "noise.npz", *arguments)
        assert status == 0, err
        found[label] = [(r["target"], r["metric"], r["value"], r["eps"]) for r in json.loads((tmp_path / f"{label}.json").read_text())]
    assert found["name"] == found["file"]


def test_a_name_that_is_not_there(qarmor):
    status, _, err = qarmor("attack", "mnist/qvc20", "digits")
    assert status == 2
    assert err.count("\n") == 1
    assert "no network at mnist/qvc20" in err
    assert "near: mnist/qvc200" in err


def test_names_in_transfer_and_detect(qarmor, noise, tmp_path):
    """Saved networks keep their whole name in rows, dots too, whether they come with QArmor or lie in a file."""
    shutil.copy(shipped.saved_file("mnist/linear"), tmp_path / "linear-adv0.1.safetensors")
    status, _, err = qarmor("transfer", "noise.npz", "--networks", "mnist/linear,linear-adv0.1.safetensors", "--images", "8", "--out", "rows.json")
    assert status == 0, err
    assert {row["target"] for row in json.loads((tmp_path / "rows.json").read_text())} == {"linear", "linear-adv0.1"}
    networks = ("mnist/linear", "linear-adv0.1.safetensors", "noise.npz")
    options = ("--attack", "fgsm", "--images", "4", "--false-positive-rate", "0.5", "--out", "rows.json")
    status, _, err = qarmor("detect", *networks, *options)
    assert status == 0, err
    assert json.loads((tmp_path / "rows.json").read_text())[0]["parameters"]["second"] == "linear-adv0.1"


def test_two_networks_of_one_name_are_refused(qarmor, noise):
    status, _, err = qarmor("transfer", "noise.npz", "--networks", "mnist/linear,fashion-mnist/linear")
    assert status == 2
    assert "two of them have the same name in rows; rename a file" in err
