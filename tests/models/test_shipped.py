"""The networks that come with the package: all there, whole, found by name; the slow test measures what is claimed of them."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from qarmor import attacks, cli, data, evaluation, models
from qarmor.models import shipped

ALL = shipped.shipped()
TOOL = Path(__file__).parents[2] / "dev" / "ship_networks.py"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A copy of the weights that may be damaged."""
    shutil.copytree(shipped.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    shipped.shipped.cache_clear()
    yield tmp_path / "weights"
    shipped.shipped.cache_clear()


def test_circuits_of_the_four_data_sets_and_a_control_are_there():
    names = {network.name for network in ALL}
    for dataset in ("mnist", "fashion-mnist", "cifar2", "celeba"):
        assert {f"{dataset}/{network}" for network in ("qvc200", "qvc200-paper", "qvc500", "qvc500-paper", "linear")} <= names
    assert {"mnist/qvc1000", "fashion-mnist/qvc1000"} <= names


def test_files_and_index_say_the_same():
    files = {path.relative_to(shipped.FOLDER).as_posix() for path in shipped.FOLDER.rglob("*.safetensors")}
    assert files == {f"{network.name}.safetensors" for network in ALL}
    assert sum(network.file.stat().st_size for network in ALL) < 5_000_000


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_a_network_is_what_the_index_says(network):
    record = models.inspect(network.name)
    model = models.load(network.name)
    assert record.dataset == network.dataset
    assert record.accuracy == network.clean.value
    assert f"batch {record.recipe['batch_size']}" in network.recipe
    assert f"{record.recipe['epochs']} epoch" in network.recipe
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == network.parameters
    assert not model.training
    shape = {d.name: tuple(map(int, d.shape.split("x"))) for d in data.describe()}[network.dataset]
    assert torch.isfinite(model(torch.rand(2, *shape))).all()
    for measured in (network.clean, *network.robust):
        assert (measured.low, measured.high) == pytest.approx(evaluation.wilson(measured.successes, measured.n), abs=1e-9)
    accuracies = [network.clean.value, *(each.value for each in network.robust)]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models.save(models.Linear((1, 4, 4), 2), tmp_path / "mnist" / "qvc200")
    assert models.inspect("mnist/qvc200").architecture == "Linear"
    (tmp_path / "mnist" / "qvc200").unlink()
    assert models.inspect("mnist/qvc200").architecture == "QVC"


def test_is_saved():
    assert shipped.is_saved("mnist/qvc200")
    assert shipped.is_saved("not/there.safetensors")
    assert not any(map(shipped.is_saved, ("qvc200", "mnist/qvc20", "linear", "package.module:factory")))


@pytest.mark.parametrize(
    ("name", "near"), [("mnist/qvc20", "mnist/qvc200"), ("cifar/linear", "cifar2/linear"), ("mnst/qvc500-paper", "mnist/qvc500-paper")]
)
@pytest.mark.parametrize("read", [models.load, models.inspect])
def test_a_name_that_is_not_there_is_answered_with_the_nearest(name, near, read):
    with pytest.raises(FileNotFoundError, match=rf"no network at {name}: give a .safetensors file .* `qarmor models` lists \(near: .*{near}"):
        read(name)


def test_nothing_near_is_not_guessed():
    with pytest.raises(FileNotFoundError, match="`qarmor models` lists, or package.module:factory"):
        models.load("zzz.bin")


def test_a_changed_file_is_refused(elsewhere):
    path = elsewhere / "mnist" / "linear.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ValueError, match="mnist/linear: its file .* is not the one that was measured; install QArmor anew"):
        models.load("mnist/linear")
    path.unlink()
    with pytest.raises(ValueError, match="mnist/linear: its file .* cannot be read"):
        models.load("mnist/linear")


@pytest.mark.parametrize("text", ["{", '[{"name": "a/b"}]', "[3]"])
def test_a_damaged_index_is_refused(elsewhere, text):
    (elsewhere / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index.json: the list of networks that come with QArmor cannot be read .* install QArmor anew"):
        shipped.shipped()


# ------------------------------------------------------------------------------------------------------------------- putting them there

STUDY = """
title = "Small"
[datasets.digits]
[networks.linear]
epochs = 2
[networks.mlp]
epochs = 1
[networks.qvc4]
epochs = 1
[sections.clean]
kind = "clean"
title = "Clean"
networks = ["linear", "mlp", "qvc4"]
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("ship_networks", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study and what was exported of it."""
    place = tmp_path_factory.mktemp("study")
    (place / "small.toml").write_text(STUDY)
    assert cli.run(["run", str(place / "small.toml"), "--out", str(place / "study"), "--workers", "1"]) == 0
    assert cli.run(["export", str(place / "study"), str(place / "results")]) == 0
    return place


def test_networks_of_a_study_are_put_there(tool, made, tmp_path, monkeypatch, capsys):
    to = tmp_path / "weights"
    (to / "digits").mkdir(parents=True)
    (to / "digits" / "old.safetensors").write_bytes(b"x")
    entry = {"name": "other/linear"}
    (to / "index.json").write_text(json.dumps([entry, {"name": "digits/old"}]))
    (to / "other").mkdir()
    (to / "other" / "linear.safetensors").write_bytes(b"x")
    tool.main([str(made / "results"), str(made / "study"), "--to", str(to), "--largest", "10000"])
    assert "digits/mlp: left out, 0.0 MB" in capsys.readouterr().out
    entries = json.loads((to / "index.json").read_text())
    assert [each["name"] for each in entries] == ["other/linear", "digits/linear", "digits/qvc4"]
    assert not (to / "digits" / "old.safetensors").exists()
    assert (to / "other" / "linear.safetensors").exists()
    (to / "index.json").write_text(json.dumps(entries[1:]))
    monkeypatch.setattr(shipped, "FOLDER", to)
    shipped.shipped.cache_clear()
    try:
        networks = shipped.shipped()
        for network in networks:
            assert network.command == "qarmor run small --only digits"
            model = models.load(network.name)
            assert evaluation.clean({"m": model}, data.load("digits").test)[0].successes == network.clean.successes
            assert models.inspect(network.name).recipe["name"] == network.recipe.split(":")[0]
            for claimed in network.robust:
                assert attacked(network, model, claimed.eps, claimed.n) == claimed.value
    finally:
        shipped.shipped.cache_clear()


def attacked(network, model, eps, n):
    """Accuracy under the attack that the index describes."""
    test = data.load(network.dataset).test
    images = test.subset(n, seed=network.attack["images"]["seed"])
    attack = attacks.build(network.attack["build"], **network.attack["options"])
    adversarials = evaluation.craft({"m": model}, images, attack, eps, network.attack["seed"])
    return evaluation.score({"m": model}, adversarials).where(metric="accuracy")[0].value


def test_results_of_another_study_are_refused(tool, made, tmp_path):
    shutil.copytree(made / "results", tmp_path / "results")
    path = tmp_path / "results" / "networks-digits.csv"
    text = path.read_text()
    key = text.splitlines()[1].split(",")[-5]
    path.write_text(text.replace(key, "0" * 12))
    with pytest.raises(ValueError, match="has no artefact 000000000000: give the study that RESULTS were exported from"):
        tool.ship(tmp_path / "results", made / "study", tmp_path / "weights")
    with pytest.raises(ValueError, match=r"holds no networks-\*.csv: give a folder that `qarmor export` wrote"):
        tool.ship(tmp_path, made / "study", tmp_path / "weights")


# ------------------------------------------------------------------------------------------------------------------------------ claims


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*cannot be identified as the official files")  # the claims about CIFAR and CelebA are of re-encoded images
@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_claims_measured_again(network):
    if "QARMOR_DATA" not in os.environ:
        pytest.skip("QARMOR_DATA is not set")
    model = models.load(network.name)
    test = data.load(network.dataset).test
    assert len(test) == network.clean.n
    assert evaluation.clean({"m": model}, test)[0].value == pytest.approx(network.clean.value, abs=0.001)
    for claimed in network.robust:
        assert attacked(network, model, claimed.eps, claimed.n) == pytest.approx(claimed.value, abs=0.02)
