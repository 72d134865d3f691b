"""What `verify` finds in a study that was changed."""

import json

import pytest
import safetensors.torch

from qarmor.studies import folder
from qarmor.studies import store as storing
from qarmor.studies.verify import verify
from qarmor.types import Rows
from tests.studies.conftest import flip, key_of


def seal(store, key):
    """A manifest that fits the files as they are now, as somebody who wants to deceive would write it."""
    manifest = store.manifest(key)
    files = {name: storing.file_digest(store.folder(key) / name) for name in manifest.files}
    entries = {"key": key, "kind": manifest.kind, "spec": manifest.spec, "inputs": manifest.inputs, "files": files, "made": manifest.made}
    (store.folder(key) / storing.MANIFEST).write_text(storing.sealed(entries))
    store.check(key)


def found(opened):
    return verify(opened, lambda number, of, text: None)


def change(opened, key, name, edit):
    path = opened.store.folder(key) / name
    tensors = safetensors.torch.load(path.read_bytes())
    edit(tensors)
    path.write_bytes(safetensors.torch.save(tensors))
    seal(opened.store, key)


def test_a_sound_study_has_no_problems(calm):
    said = []
    verified = verify(folder.read(calm), lambda number, of, text: said.append((number, of, text)))
    results = json.loads((calm / "results.json").read_text())
    assert verified.problems == ()
    assert verified.artefacts == results["tasks"]["done"]
    assert verified.rows == len(Rows.from_json((calm / "rows.json").read_text()))
    assert verified.crafted == 8
    assert {(text, number == of) for number, of, text in said} >= {("artefacts checked", True), ("results recomputed", True)}


@pytest.mark.parametrize(
    ("kind", "words", "name"),
    [
        ("train", ["train qvc2"], "network.safetensors"),
        ("train", ["train linear"], "history.json"),
        ("craft", ["pgd on linear", "0.1"], "adversarials.safetensors"),
        ("score", ["qvc2 under pgd on linear", "0.1"], "rows.json"),
        ("clean", ["qvc2 on 9"], "predictions.safetensors"),
        ("perturbations", ["linear", "weak"], "perturbations.safetensors"),
        ("resources", ["qvc2"], "resources.json"),
        ("probabilities", [], "image.json"),
    ],
)
def test_a_flipped_bit_is_found(copy, kind, words, name):
    keys = [key for key, task in copy.plans[0].tasks.items() if task.kind == kind and all(word in task.label for word in words)]
    flip(copy.store.folder(keys[0]) / name)
    verified = found(copy)
    problem, *others = verified.problems
    assert all("cannot be recomputed, since artefact" in other for other in others)
    assert problem.startswith(f"{copy.plans[0].tasks[keys[0]].label}: artefact {keys[0][:12]} in ")
    assert problem.endswith(f"{name} was changed after it was written")


def test_images_that_leave_the_ball_are_found(copy):
    key = key_of(copy, "craft", "pgd on linear", "0.1")

    def edit(tensors):
        x = tensors["x"]
        place = (x < 0.7).nonzero()[0].tolist()
        x[tuple(place)] += 0.25

    change(copy, key, "adversarials.safetensors", edit)
    problems = found(copy).problems
    assert any(f"{copy.plans[0].tasks[key].label}: stored images leave the ball of eps 0.1 by " in problem for problem in problems)


def test_images_that_leave_the_box_are_found(copy):
    key = key_of(copy, "craft", "pgd on linear", "0.1")
    change(copy, key, "adversarials.safetensors", lambda tensors: tensors["x"].sub_(2.0))
    problems = "\n".join(found(copy).problems)
    assert "stored images leave the box [0, 1]" in problems
    assert "leave the ball of eps 0.1 by 2" in problems


def test_what_was_said_of_images_is_asked_again(copy):
    key = key_of(copy, "craft", "pgd on linear", "0.1")
    change(copy, key, "adversarials.safetensors", lambda tensors: tensors["source_adversarial_predictions"][:2].add_(1).remainder_(3))
    problems = found(copy).problems
    assert [p for p in problems if p.endswith("the source says something else of 2 of 9 stored images than was written down")]


@pytest.mark.parametrize(("kind", "words"), [("score", ["linear under pgd on linear", "0.1"]), ("clean", ["linear on 24"])])
def test_changed_counts_are_found(copy, kind, words):
    key = key_of(copy, kind, *words)
    path = copy.store.folder(key) / "rows.json"
    rows = json.loads(path.read_text())
    before = rows[0]["successes"]
    rows[0]["successes"] = before + 1
    path.write_text(json.dumps(rows))
    seal(copy.store, key)
    (problem,) = found(copy).problems
    assert (
        problem
        == f"{copy.plans[0].tasks[key].label}: accuracy is stored as {before + 1} of {rows[0]['n']}, and comes out as {before} of {rows[0]['n']}"
    )


@pytest.mark.parametrize("field", ["value", "low", "high", "eps", "target", "seed"])
def test_other_fields_of_a_row_are_found(copy, field):
    key = key_of(copy, "score", "linear under weak on qvc2", "0.1")
    path = copy.store.folder(key) / "rows.json"
    rows = json.loads(path.read_text())
    rows[0][field] = "other" if field == "target" else rows[0][field] + 1
    path.write_text(json.dumps(rows))
    seal(copy.store, key)
    (problem,) = found(copy).problems
    assert problem.startswith(f"{copy.plans[0].tasks[key].label}: accuracy is stored as ")


def test_rows_that_went_are_found(copy):
    key = key_of(copy, "score", "linear under weak on qvc2", "0.1")
    path = copy.store.folder(key) / "rows.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    seal(copy.store, key)
    (problem,) = found(copy).problems
    assert problem.endswith("1 rows are stored, 2 come out")


def test_other_weights_are_found(copy):
    """Weights that were changed and sealed again give other rows."""
    key = key_of(copy, "train", "linear")
    path = copy.store.folder(key) / "network.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(safetensors.torch.save({name: -tensor for name, tensor in tensors.items()}, metadata))
    seal(copy.store, key)
    problems = "\n".join(found(copy).problems)
    assert "linear on 24 clean images, d: accuracy is stored as " in problems
    assert "the source says something else of" in problems
