"""Sections about noise, shots, certificates, detection, the frontier and white boxes: run once, and looked at from all sides."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from qarmor.evaluation.detection import Observations, evaluate_detection
from qarmor.studies import presets, spec
from qarmor.studies.folder import read as read_folder
from qarmor.studies.tasks.common import read_tensors, write_tensors
from qarmor.types import Rows

STUDY = """
title = "Hardware"
claims = true
images = {{ some = 12 }}
eps = {{ grid = [0.05, 0.1] }}
[noise]
settings = [
  {{ kind = "bit-flip", rates = [0.01, 0.2] }},
  {{ kind = "global-depolarising", rates = [0.1], where = "end" }},
  {{ kind = "amplitude-damping", rates = [0.99999] }},
]
[datasets.bright]
source = "{source}"
[networks.qvc3]
epochs = 12
batch_size = 8
[networks.linear]
epochs = 3
batch_size = 8
[networks."linear-adv0.1"]
network = "linear"
epochs = 2
batch_size = 8
adversarial = {{ attack = "light", eps = 0.1 }}
[networks.quadratic]
epochs = 3
[attacks.pgd-margin]
attack = "pgd"
steps = 5
loss = "margin"
[attacks.fgsm]
[attacks.autoattack]
steps = 4
queries = 6
[attacks.light]
attack = "autoattack"
version = "light"
[sections.noise]
kind = "noise"
title = "Noise"
networks = ["qvc3"]
noise = "settings"
attacks = ["pgd-margin"]
eps = [0.1]
images = "some"
[sections.shots]
kind = "shots"
title = "Shots"
networks = ["qvc3"]
shots = [1, 100]
images = "some"
[sections.certificates]
kind = "certificates"
title = "Certificates"
networks = ["qvc3", "quadratic"]
attack = "pgd-margin"
eps = "grid"
images = "some"
[sections.detection]
kind = "detection"
title = "Detection"
pairs = [["linear", "qvc3"], ["linear", "quadratic"]]
attacks = ["pgd-margin", "fgsm"]
adaptive = ["pgd-margin"]
eps = [0.02, 0.3]
images = 6
false_positive_rate = 0.25
[sections.frontier]
kind = "frontier"
title = "Frontier"
networks = ["qvc3", "linear", "quadratic"]
attacks = ["pgd-margin"]
eps = [0.1]
images = "some"
[sections.direct]
kind = "white-box"
title = "Direct"
networks = ["linear", "linear-adv0.1", "qvc3"]
attacks = ["autoattack"]
eps = [0.1]
images = "some"
[sections.table]
kind = "resources"
title = "Resources"
networks = ["qvc3", "linear"]
[presets.quick]
without = ["quadratic"]
attacks = {{ pgd-margin = {{ steps = 2 }} }}
noise = {{ settings = [{{ kind = "phase-flip", rates = [0.5] }}] }}
"""


def run(arguments: list[str], status: int = 0) -> None:
    from qarmor.cli import run as command

    assert command(arguments) == status


@pytest.fixture(scope="module")
def made(bright, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("hardware")
    text = STUDY.format(source=bright)
    (place / "study.toml").write_text(text[: text.index("[presets.quick]")])
    run(["run", str(place / "study.toml"), "--out", str(place / "out"), "--engine", "inline"])
    return place / "out"


@pytest.fixture
def results(made) -> dict:
    return json.loads((made / "results.json").read_text())


@pytest.fixture
def entries(results):
    return lambda name: next(s for s in results["sections"] if s["name"] == name)["entries"]


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_everything_is_complete(results) -> None:
    assert {section["name"]: section["status"] for section in results["sections"]} == dict.fromkeys(
        ["noise", "shots", "certificates", "detection", "frontier", "direct", "table"], "complete"
    )
    assert not results["tasks"]["failed"]


def test_noise_has_an_entry_a_setting_and_one_without(entries) -> None:
    found = entries("noise")
    settings = [None if e["noise"] is None else (e["noise"]["kind"], e["noise"]["rate"], e["noise"]["where"]) for e in found]
    flips = {("bit-flip", 0.01, "layer"), ("bit-flip", 0.2, "layer")}
    assert set(settings) == {None, *flips, ("global-depolarising", 0.1, "end"), ("amplitude-damping", 0.99999, "layer")}
    by_setting = dict(zip(settings, found, strict=True))
    for entry in found:
        assert entry["network"] == "qvc3"
        assert entry["clean"]["n"] == 24
        assert [(a["attack"], a["eps"], a["n"]) for a in entry["attacked"]] == [("pgd-margin", 0.1, 12)]
        assert entry["shots"]["n"] == 12
    # global depolarising scales all expectations alike
    assert by_setting["global-depolarising", 0.1, "end"]["clean"] == by_setting[None]["clean"]
    assert by_setting["global-depolarising", 0.1, "end"]["attacked"] == by_setting[None]["attacked"]


def test_shots(entries, made) -> None:
    (entry,) = entries("shots")
    shots = entry["shots"]
    assert {1, 100} <= {point["shots"] for point in shots["points"]}
    assert shots["needed"] is None or shots["needed"] >= 1
    assert shots["wanted"] == pytest.approx(0.95 * shots["exact"])


def test_certificates_lie_below_attacks(entries, made) -> None:
    for entry in entries("certificates"):
        assert [c["name"] for c in entry["certificates"]] == ["hypothesis_testing", "exact_l2", "linf", "linf_box"]
        assert all(c["violations"] == 0 for c in entry["certificates"])
        curve = entry["curve"]
        for certificate in ("hypothesis_testing", "exact_l2", "linf", "linf_box"):
            assert all(c["value"] <= a["value"] for c, a in zip(curve[certificate], curve["attacked"], strict=True))
        assert len(curve["linf_box"]) == len(curve["eps"]) == 2


def test_detection_is_recomputed_from_what_is_stored(entries, made) -> None:
    folder = read_folder(made)
    tasks = [task for plan in folder.plans for task in plan.tasks.values() if task.kind == "detect"]
    assert len(tasks) == 2
    for task in tasks:
        at = folder.store.folder(task.key)
        seen = {}
        for name in ("clean", "held-out", "attacked-0", "attacked-1", "attacked-2"):
            tensors = read_tensors(at / f"{name}.safetensors")
            assert len(tensors.pop("x")) == 6
            seen[name] = Observations.from_tensors(tensors)
        attacked = [seen[f"attacked-{k}"] for k in range(3)]
        rows = evaluate_detection(seen["clean"], attacked, seen["held-out"], false_positive_rate=0.25)
        stored = Rows.from_json((at / "rows.json").read_text())
        assert [(r.metric, r.source, r.successes, r.n) for r in rows] == [(r.metric, r.source, r.successes, r.n) for r in stored]
    for entry in entries("detection"):
        assert {row["source"] for row in entry["rows"]} == {"", entry["first"], entry["second"], f"{entry['first']}+{entry['second']}"}
        assert {curve["source"] for curve in entry["roc"]} == {row["source"] for row in entry["rows"]} - {""}
        assert not entry["paper"]  # the paper has no numbers for these


def test_suites_and_networks_are_named_in_rows(made, results) -> None:
    rows = Rows.from_json((made / "rows.json").read_text())
    direct = [row for row in rows if row.attack.startswith("autoattack")]
    assert {(row.source, row.target) for row in direct} == {(n, n) for n in ("linear", "linear-adv0.1", "qvc3")}
    assert {row.attack for row in direct} == {"autoattack-ternary"}
    assert all(row.parameters["suite"]["square"]["queries"] == 6 for row in direct)
    recipe = next(n for n in results["networks"] if n["name"] == "linear-adv0.1")["recipe"]
    assert "0.5 of each batch attacked by autoattack-light at eps 0.1" in recipe


def test_resources_count_the_encoding(entries) -> None:
    by_name = {entry["network"]: entry for entry in entries("table")}
    assert by_name["qvc3"]["gates_real"] < by_name["qvc3"]["gates_complex"]
    assert by_name["linear"]["layers"] == 1


def test_verify_finds_nothing_and_then_what_was_changed(copy) -> None:
    run(["verify", str(copy)])
    folder = read_folder(copy)
    task = next(task for plan in folder.plans for task in plan.tasks.values() if task.kind == "certify")
    path = folder.store.folder(task.key) / "radii.safetensors"
    tensors = read_tensors(path)
    tensors["smallest"] = torch.where(tensors["smallest"] > 0, tensors["smallest"] / 2, tensors["smallest"])
    write_tensors(path, tensors)
    run(["verify", str(copy)], status=1)


def test_presets_change_attacks_and_noise_and_leave_networks_out(bright) -> None:
    study = presets.resolve(spec.parse(STUDY.format(source=bright)), "quick")
    assert "quadratic" not in study.networks
    assert study.sections["frontier"].networks == ["qvc3", "linear"]
    assert study.sections["detection"].pairs == [["linear", "qvc3"]]
    assert study.attacks["pgd-margin"].options == {"steps": 2, "loss": "margin"}
    assert [one.kind for one in study.noise["settings"]] == ["phase-flip"]
    assert "leaves out the networks quadratic" in study.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('networks = ["qvc3"]\nnoise', 'networks = ["linear"]\nnoise'), "networks.linear: noise needs a QVC, 'linear' is none"),
        (("rates = [0.01, 0.2]", "rates = [1.5]"), "noise.settings.0.rates.0: input should be less than or equal to 1, got 1.5"),
        (('noise = "settings"', 'noise = "none"'), "sections.noise.noise: there is no table of noise 'none'; there are settings"),
        (("shots = [1, 100]", "shots = [0]"), "sections.shots.shots.0: input should be greater than or equal to 1, got 0"),
        (('["linear", "quadratic"]]', '["linear", "linear"]]'), "sections.detection.pairs: a network with itself never disagrees"),
        (('["linear", "quadratic"]]', '["linear", "none"]]'), "sections.detection.pairs: there is no network 'none'"),
        (('without = ["quadratic"]', 'without = ["qvc3"]'), "sections.noise.networks would be empty; leave one network in it"),
        (('without = ["quadratic"]', 'without = ["x"]'), "presets.quick.without: there is no network 'x'"),
    ],
)
def test_what_cannot_be(bright, tmp_path, capsys, change, message) -> None:
    text = STUDY.format(source=bright)
    assert change[0] in text
    (tmp_path / "study.toml").write_text(text.replace(*change))
    preset = ["--preset", "quick"]
    run(["run", str(tmp_path / "study.toml"), "--dry-run", "--out", str(tmp_path / "out"), *preset], status=2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_exported_rows_keep_what_an_attack_s_name_does_not_say(made, tmp_path) -> None:
    run(["export", str(made), str(tmp_path / "kept"), "--no-weights"])
    with (tmp_path / "kept" / "rows-bright.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(json.loads(row["parameters"])["by"] == "all" for row in rows if row["metric"] == "true_positive_rate")
    assert all(json.loads(row["parameters"])["shots"] for row in rows if row["metric"] == "accuracy" and "shots" in row["parameters"])
    assert {row["parameters"] for row in rows if row["attack"] == "autoattack" and row["metric"] == "accuracy"} == {""}
    assert not (tmp_path / "kept" / "weights").exists()
