"""What is not a results directory is refused by one clear line."""

import json

import numpy as np
import pytest

from qarmor import report
from qarmor.report.inputs import load_directory


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _section(value, kind):
    return next(section for section in value["sections"] if section["kind"] == kind)


def _entry(value, kind):
    return _section(value, kind)["entries"][0]


def _arrays(folder, kind):
    return folder / _entry(json.loads((folder / "results.json").read_text()), kind)["arrays"]


def test_reads_everything(results, evil_name):
    found = load_directory(results)
    assert found.quantum(evil_name)
    assert not found.quantum("convnet")
    assert [section.status for section in found.sections] == ["complete"] * 4 + ["partial", "complete", "missing", "missing"] + ["complete"] * 7
    bodies = {section.kind: section.body for section in found.sections if section.body}
    assert bodies["perturbations"].entries[0].pictures.clean.shape == (2, 1, 8, 8)
    assert bodies["probabilities"].entries[0].image.shape == (1, 8, 8)
    assert bodies["resources"].entries[0].gates == {"RZ": 4000, "<CZ>": 1800}
    assert found.networks[0].history.steps[0] == 10
    assert found.failed[0].log == "RuntimeError: out of <memory>"
    assert found.claims[0].conditions[0].n == (120,)


def test_null_and_absent_are_the_same(small):
    _change(small / "results.json", lambda v: [network.update(dict.fromkeys(("clean", "seconds", "history", "seed"))) for network in v["networks"]])
    before = load_directory(small).networks
    _change(small / "results.json", lambda v: [network.pop(name) for network in v["networks"] for name in ("clean", "seconds", "history", "seed")])
    assert load_directory(small).networks == before


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing is not a directory; give the folder that `qarmor run STUDY --out` wrote"):
        report.write(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["rows.json", "results.json"])
def test_missing_file(results, name):
    (results / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing; run the study again with `qarmor run STUDY --out "):
        report.write(results)


def test_claims_may_be_missing(results):
    (results / "claims.json").unlink()
    assert load_directory(results).claims == ()


@pytest.mark.parametrize("kind", ["perturbations", "probabilities"])
def test_missing_arrays(results, kind):
    _arrays(results, kind).unlink()
    with pytest.raises(FileNotFoundError, match=r"\.npz is missing, though results\.json names it; run the study again"):
        report.write(results)


@pytest.mark.parametrize("name", ["rows.json", "results.json", "claims.json", "perturbations", "probabilities"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"PK\x03\x04 cut"])
def test_damaged_file(results, name, content):
    path = results / name if name.endswith("json") else _arrays(results, name)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged or of another format \(.*\); run the study again") as caught:
        report.write(results)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", '[{"dataset": "x"}]'),
        ("rows.json", "{}"),
        ("rows.json", "3"),
        ("results.json", "[]"),
        ("claims.json", "{}"),
        ("claims.json", "[1]"),
    ],
)
def test_json_of_another_shape(results, name, text):
    if (name, text) == ("rows.json", "{}"):
        text = '{"a": 1}'
    (results / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        report.write(results)


@pytest.mark.parametrize("change", [{"value": "high"}, {"eps": "a"}, {"source": 3}, {"n": None}, {"parameters": 7}, {"flags": 7}, {"seed": True}])
def test_rows_of_wrong_types(results, change):
    _change(results / "rows.json", lambda rows: rows[0].update(change))
    with pytest.raises(ValueError, match=r"rows\.json is damaged") as caught:
        report.write(results)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("title"), "title should be text that is not empty, got nothing"),
        (lambda v: v.update(task_seconds="long"), "task_seconds should be a number, got str"),
        (lambda v: v.update(seeds=[0.5]), "seeds should be a list of whole numbers, got list"),
        (lambda v: v.update(tasks=3), "tasks should be an object, got int"),
        (lambda v: v["tasks"].update(failed=["x"]), r"tasks\.failed\[0\] should be an object, got str"),
        (lambda v: v["networks"][1].update(kind=3), r"networks\[1\]\.kind should be text, got int"),
        (lambda v: v["networks"][1].update(parameters=1.5), r"networks\[1\]\.parameters should be a whole number, got float"),
        (lambda v: v["networks"][1]["history"]["loss"].pop(), r"networks\[1\]\.history: 39 steps for 38 losses"),
        (lambda v: v["networks"][1]["history"].update(loss="x"), r"networks\[1\]\.history\.loss should be a list, got str"),
        (lambda v: v["attacks"]["pgd"].pop("name"), r"attacks\.pgd\.name should be text that is not empty, got nothing"),
        (lambda v: v["datasets"].update(x=3), r"datasets\.x should be an object, got int"),
        (
            lambda v: v["sections"][0].update(kind="song"),
            r"sections\[0\]\.kind should be one of transfer, white-box, frontier, clean, .*, got 'song'",
        ),
        (lambda v: v["sections"][0].update(status="fine"), r"sections\[0\]\.status should be one of complete, partial, missing, got 'fine'"),
        (lambda v: v["sections"][0].update(keys="all"), r"sections\[0\]\.keys should be a list, got str"),
        (lambda v: _section(v, "clean")["paper"][0].update(value=None), r"paper\[0\]\.value should be a number, got nothing"),
        (lambda v: _entry(v, "resources").update(gates=3), r"entries\[0\]\.gates should be an object, got int"),
        (lambda v: _entry(v, "perturbations")["labels"].pop(), "labels and predictions differ in number: 1, 2, 2"),
        (lambda v: _entry(v, "perturbations").update(labels=[0, 9]), "label 9 with 3 classes"),
        (lambda v: _entry(v, "perturbations").update(arrays="../secret.npz"), r"arrays should be a file below the directory, got '\.\./secret\.npz'"),
        (lambda v: _entry(v, "perturbations").update(arrays="/etc/secret.npz"), "arrays should be a file below the directory"),
        (lambda v: _entry(v, "probabilities").update(label=-1), "label -1 with 3 classes"),
        (lambda v: _entry(v, "probabilities")["networks"]["convnet"].pop(), r"networks\.convnet should be 4 lists \(one an eps\) of 3 probabilities"),
        (lambda v: _entry(v, "probabilities")["networks"]["convnet"][0].pop(), r"networks\.convnet should be 4 lists"),
    ],
)
def test_wrong_results(results, change, message):
    _change(results / "results.json", change)
    with pytest.raises(ValueError, match=message) as caught:
        report.write(results)
    assert "results.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_verdict(results):
    _change(results / "claims.json", lambda claims: claims[2].update(verdict="maybe"))
    with pytest.raises(ValueError, match=r"claims\[2\]\.verdict should be one of holds, fails, undecided, not measured, got 'maybe'"):
        report.write(results)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "it has no array clean"),
        ({name: np.zeros((3, 1, 8, 8)) for name in ("clean", "adversarial", "perturbation")}, "of one shape, for 2 images"),
        ({name: np.zeros((2, 2, 8, 8)) for name in ("clean", "adversarial", "perturbation")}, r"with C 1 or 3, got shape \(2, 2, 8, 8\)"),
        ({name: np.full((2, 1, 8, 8), np.nan) for name in ("clean", "adversarial", "perturbation")}, "images should be finite"),
        ({name: np.array([{}, {}], dtype=object) for name in ("clean", "adversarial", "perturbation")}, "pickle"),
        ({name: np.array(["a", "b"]) for name in ("clean", "adversarial", "perturbation")}, "could not convert"),
    ],
)
def test_wrong_arrays(results, arrays, message):
    np.savez(_arrays(results, "perturbations"), **arrays)
    with pytest.raises(ValueError, match=rf"\.npz is damaged .*{message}"):
        report.write(results)


def test_wrong_image(results):
    np.savez(_arrays(results, "probabilities"), image=np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"image should be \(C, H, W\) or \(d,\), got shape \(8, 8\)"):
        report.write(results)
