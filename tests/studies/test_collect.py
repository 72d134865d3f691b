"""A small study from beginning to end: what is collected of it, whether it comes out again, and what a verification finds."""

import json
import shutil

import numpy as np
import pytest

from qarmor.studies import collect, folder, spec
from qarmor.studies import store as storing
from qarmor.types import Rows
from tests.studies.conftest import GATHERED, flip, key_of


@pytest.fixture
def results(calm):
    return json.loads((calm / "results.json").read_text())


@pytest.fixture
def sections(results):
    return {section["name"]: section for section in results["sections"]}


# Rows


def order(row):
    parameters = json.dumps(dict(row.parameters), sort_keys=True)
    return row.dataset, row.source, row.target, row.attack, parameters, row.eps, row.metric, row.n


def test_rows_are_sorted_and_complete(calm):
    rows = Rows.from_json((calm / "rows.json").read_text())
    assert [order(row) for row in rows] == sorted(order(row) for row in rows)
    assert len(rows.where(source="", n=9)) == len(rows.where(source="", n=24)) == 2
    attacked = [row for row in rows if row.source]
    assert len({order(row) for row in attacked}) == len(attacked) == 2 * 2 * 2 * 2 * 2
    assert {row.dataset for row in rows} == {"d/test"}
    assert {(row.metric, bool(row.source)) for row in rows} == {("accuracy", False), ("accuracy", True), ("fooling_rate", True)}
    for network in ("linear", "qvc2"):
        (clean,) = rows.where(target=network, source="", n=9)
        assert {row.value for row in rows.where(target=network, eps=0.0, metric="accuracy", n=9)} == {clean.value}


def test_each_row_has_the_key_of_its_task(calm):
    tasks = folder.read(calm).plans[0].tasks
    for row in Rows.from_json((calm / "rows.json").read_text()):
        task = tasks[row.key]
        assert task.kind == ("score" if row.source else "clean")
        assert task.spec["target"] == row.target


def without_times(path):
    value = json.loads((path / "results.json").read_text())
    assert value.pop("task_seconds") > 0
    for network in value["networks"]:
        assert network.pop("seconds") > 0
    return value


def test_a_second_run_changes_nothing(calm, do, tmp_path):
    out = shutil.copytree(calm, tmp_path / "out")
    journal = (out / "store" / "journal.jsonl").read_bytes()
    state = do(out)
    assert (state.there, state.done) == (state.total, state.total)
    for name in ("rows.json", "results.json", "claims.json"):
        assert (out / name).read_text() == (calm / name).read_text()
    assert (out / "store" / "journal.jsonl").read_bytes() == journal


def test_a_fresh_folder_comes_out_the_same(calm, do, tmp_path):
    do(tmp_path / "out")
    assert (tmp_path / "out" / "rows.json").read_text() == (calm / "rows.json").read_text()
    assert without_times(tmp_path / "out") == without_times(calm)  # with the sums of the weights
    assert (tmp_path / "out" / "claims.json").read_text() == (calm / "claims.json").read_text()
    names = sorted(p.name for p in (calm / "arrays").iterdir())
    assert sorted(p.name for p in (tmp_path / "out" / "arrays").iterdir()) == names
    for name in names:
        with np.load(calm / "arrays" / name) as one, np.load(tmp_path / "out" / "arrays" / name) as two:
            assert one.files == two.files
            assert all(np.array_equal(one[k], two[k]) for k in one.files)


def test_a_folder_that_holds_another_study_is_left_alone(copy):
    with pytest.raises(ValueError, match=r"--out .*: it holds study 'small'; give another folder to this one") as caught:
        folder.write(copy.path, folder.Asked("other", None, "", {}), {})
    assert "\n" not in str(caught.value)
    assert folder.read(copy.path).asked.name == "small"


# results.json


def test_results_say_what_was_run(results):
    assert (results["study"], results["title"], results["note"], results["preset"]) == ("small", "Small", "n", None)
    assert (results["command"], results["threads"], results["seeds"]) == ("qarmor run small", 1, [0])
    assert {"qarmor", "python", "torch"} <= set(results["versions"])
    assert results["tasks"]["done"] == results["tasks"]["planned"] > 30
    assert results["tasks"]["failed"] == []
    assert results["attacks"]["weak"] == {"name": "fgsm", "parameters": {"loss": "ce"}, "label": "FGSM"}
    assert results["attacks"]["pgd"]["parameters"]["steps"] == 2
    (dataset,) = results["datasets"].values()
    assert (dataset["train"], dataset["test"], dataset["shape"], dataset["classes"], dataset["majority"]) == (
        48,
        24,
        [1, 8, 8],
        ["0", "1", "2"],
        1 / 3,
    )
    assert set(dataset["sources"]) == {"bright.npz"}


def test_numbers_are_numbers(calm):
    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    json.loads((calm / "results.json").read_text(), parse_constant=refuse)
    json.loads((calm / "claims.json").read_text(), parse_constant=refuse)


def test_attacks_of_rows_are_those_of_the_study(calm, results):
    named = [(entry["name"], entry["parameters"]) for entry in results["attacks"].values()]
    for row in Rows.from_json((calm / "rows.json").read_text()):
        assert not row.source or (row.attack, row.parameters) in named


def test_networks(calm, results):
    linear, qvc = results["networks"]
    assert [linear[k] for k in ("name", "dataset", "seed", "kind", "recipe_name", "epochs", "train_images")] == [
        "linear",
        "d",
        0,
        "classical",
        "linear",
        2,
        48,
    ]
    assert [qvc[k] for k in ("name", "kind", "architecture", "epochs")] == ["qvc2", "quantum", "6 qubits, 2 layers, 46 gates", 1]
    assert linear["recipe"] == "Adam 0.03, cosine, batch 16, 2 epochs"
    rows = Rows.from_json((calm / "rows.json").read_text())
    for network in (linear, qvc):
        (clean,) = rows.where(target=network["name"], source="", n=24)
        assert [network[k] for k in ("clean", "clean_low", "clean_high", "clean_n")] == [clean.value, clean.low, clean.high, 24]
        assert set(network["history"]) == {"steps", "loss", "accuracy_steps", "accuracy"}
        assert len(network["history"]["loss"]) == len(network["history"]["steps"]) > 0
        assert storing.file_digest(folder.read(calm).store.folder(network["key"]) / "network.safetensors") == network["sha256"]
    assert linear["parameters"] == 65 * 3


def test_sections_stand_in_the_order_of_the_study_with_their_state(sections, results):
    assert [section["name"] for section in results["sections"]] == list(spec.parse(GATHERED).sections)
    states = {name: (section["status"], section["reason"]) for name, section in sections.items()}
    assert states == {
        **dict.fromkeys(("crossed", "curves", "table", "looks", "unmoved", "chances"), ("complete", "")),
        "clean": ("partial", "not run on e"),
        "later": ("missing", "not built yet"),
        "elsewhere": ("missing", "not run"),
    }
    assert all(section["done"] == section["planned"] for section in sections.values())
    assert (sections["crossed"]["item"], sections["crossed"]["title"], sections["crossed"]["note"]) == ("Fig 1", "Crossed", "why")
    assert (sections["crossed"]["datasets"], sections["elsewhere"]["datasets"]) == (["d"], [])


def test_transfer_and_clean_sections_name_their_rows(calm, sections):
    rows = Rows.from_json((calm / "rows.json").read_text())
    crossed, clean = sections["crossed"], sections["clean"]
    assert [crossed[k] for k in ("kind", "sources", "targets", "attacks")] == ["transfer", ["linear", "qvc2"], ["linear", "qvc2"], ["pgd", "weak"]]
    assert {row.key for row in rows if row.source or row.n == 9} == set(crossed["keys"])
    assert {row.key for row in rows if not row.source and row.n == 24} == set(clean["keys"])
    assert len(crossed["keys"]) == 16 + 2


def test_the_paper_s_numbers(sections):
    rate, words = sections["clean"]["paper"]
    assert [rate[k] for k in ("dataset", "network", "quantity", "value", "n")] == ["d", "linear", "accuracy", 0.9, 250]
    assert (rate["low"], rate["high"]) == pytest.approx((0.8565, 0.9313), abs=1e-4)  # Wilson, 225 of 250
    assert words == {"dataset": "", "network": "linear", "quantity": "parameters", "value": "about 200", "n": None, "low": None, "high": None}


def test_training_and_resources(sections):
    assert sections["curves"]["networks"] == ["linear", "qvc2"]
    linear, qvc = sections["table"]["entries"]
    assert linear == {"dataset": "d", "network": "linear", "parameters": 195, "layers": 1}
    assert [qvc[k] for k in ("dataset", "network", "qubits", "layers")] == ["d", "qvc2", 6, 2]
    assert sum(qvc["gates"].values()) == 46
    assert qvc["depth"] > 0


def test_perturbations(calm, sections):
    entries = sections["looks"]["entries"]
    assert [(e["dataset"], e["source"], e["attack"], e["eps"], e["n"]) for e in entries] == [("d", s, "weak", 0.1, 9) for s in ("linear", "qvc2")]
    for entry in entries:
        assert entry["share_low"] <= entry["share"] <= entry["share_high"]
        assert all(len(entry[k]) == 2 for k in ("labels", "clean_predictions", "adversarial_predictions"))
        assert entry["labels"] == [0, 1]
        with np.load(calm / entry["arrays"]) as arrays:
            assert {name: arrays[name].shape for name in arrays.files} == dict.fromkeys(("clean", "adversarial", "perturbation"), (2, 1, 8, 8))
            assert np.allclose(arrays["clean"] + arrays["perturbation"], arrays["adversarial"], atol=1e-6)
            assert np.abs(arrays["perturbation"]).max() == pytest.approx(0.1, abs=1e-6)


def test_a_share_of_nothing_has_no_value(sections):
    (entry,) = sections["unmoved"]["entries"]
    assert [entry[k] for k in ("eps", "n", "share", "share_low", "share_high")] == [0.0, 9, None, None, None]


def test_probabilities(calm, sections):
    (entry,) = sections["chances"]["entries"]
    assert (entry["dataset"], entry["attack"], entry["eps"]) == ("d", "pgd", [0.0, 0.1, 0.2])
    assert list(entry["networks"]) == ["linear", "qvc2"]
    for curve in entry["networks"].values():
        assert np.array(curve).shape == (3, 3)
        assert np.array(curve).sum(1) == pytest.approx(1)
    assert entry["label"] == entry["index"] % 3
    with np.load(calm / entry["arrays"]) as arrays:
        assert arrays["image"].shape == (1, 8, 8)


def test_claims_are_verdicts(calm):
    verdicts = json.loads((calm / "claims.json").read_text())
    assert {verdict["dataset"] for verdict in verdicts} == {"d"}
    for verdict in verdicts:
        assert {"id", "text", "dataset", "variant", "verdict", "conditions", "paper", "reason"} <= set(verdict)
    assert {verdict["verdict"] for verdict in verdicts} == {"not measured"}


# What is missing


def test_collecting_after_an_artefact_went(copy, do, calm):
    key = key_of(copy, "score", "linear under pgd on qvc2", "0.1")
    shutil.rmtree(copy.store.folder(key))
    collect.collect(copy, {key: "it cannot be done"})
    results = json.loads((copy.path / "results.json").read_text())
    crossed = results["sections"][0]
    assert (crossed["status"], crossed["done"], crossed["planned"]) == ("partial", 17, 18)
    assert crossed["reason"] == "1 of 18 tasks are not finished"
    assert key not in crossed["keys"]
    assert results["tasks"]["done"] == results["tasks"]["planned"] - 1
    assert results["tasks"]["failed"] == [{"label": copy.plans[0].tasks[key].label, "log": "it cannot be done"}]
    before, after = (Rows.from_json((path / "rows.json").read_text()) for path in (calm, copy.path))
    assert [(order(r), r.value) for r in after if r.eps] == [(order(r), r.value) for r in before if r.eps and r.key != key]
    state = do(copy.path)
    assert (state.there, state.done) == (state.total - 1, state.total)
    assert (copy.path / "rows.json").read_text() == (calm / "rows.json").read_text()


def test_collecting_without_a_network(copy):
    key = key_of(copy, "train", "qvc2")
    shutil.rmtree(copy.store.folder(key))
    collect.collect(copy, {})
    results = json.loads((copy.path / "results.json").read_text())
    linear, qvc = results["networks"]
    assert linear["history"]
    assert [qvc[k] for k in ("seconds", "sha256", "history")] == [None, None, None]
    assert {s["name"]: s["status"] for s in results["sections"]}["curves"] == "partial"


def test_a_damaged_artefact_is_left_out(copy):
    key = key_of(copy, "clean", "linear on 24 clean")
    flip(copy.store.folder(key) / "rows.json")
    collect.collect(copy, {})
    assert not [row for row in Rows.from_json((copy.path / "rows.json").read_text()) if row.key == key]
    (linear, _) = json.loads((copy.path / "results.json").read_text())["networks"]
    assert linear["clean_n"] == 9


def test_nothing_is_there_yet(calm, tmp_path):
    opened = folder.read(calm)
    folder.write(tmp_path, folder.Asked("small", None, "", opened.asked.study), {"d": opened.plans[0]})
    opened = folder.read(tmp_path)
    opened.store.create()
    collect.collect(opened, {})
    assert json.loads((tmp_path / "rows.json").read_text()) == []
    results = json.loads((tmp_path / "results.json").read_text())
    assert {s["name"]: (s["status"], s["reason"]) for s in results["sections"] if s["name"] != "later"} == dict.fromkeys(
        (s for s in opened.study.sections if s != "later"), ("missing", "not run")
    )
