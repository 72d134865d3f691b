"""The gallery: the crafts that are there already, shown as they are."""

import json
import shutil

import pytest
import torch

from qarmor.data import load
from qarmor.report import gallery as shown
from qarmor.studies import spec
from qarmor.studies.choice import balanced
from qarmor.studies.folder import read as read_folder
from qarmor.studies.plan import make
from qarmor.studies.tasks import gallery as stored
from qarmor.studies.tasks.common import read_network, read_tensors, write_tensors
from qarmor.studies.verify_gallery import looks

STUDY = """
title = "Pictures"
images = {{ some = 20, few = 12 }}
eps = {{ grid = [0.0, 0.05, 0.1], short = [0.2] }}
[datasets.bright]
source = "{source}"
[networks.linear]
epochs = 2
batch_size = 8
[networks.qvc3]
epochs = 2
batch_size = 8
[attacks.pgd]
steps = 3
[attacks.fgsm]
[sections.crossed]
kind = "transfer"
title = "Crossed"
sources = ["linear", "qvc3"]
targets = ["linear"]
attacks = ["pgd"]
eps = "grid"
images = "some"
[sections.other]
kind = "transfer"
title = "Other images"
sources = ["linear"]
targets = ["linear"]
attacks = ["fgsm"]
eps = "short"
images = "few"
"""
GALLERY = """
[sections.gallery]
kind = "gallery"
title = "Look"
sources = ["linear"]
networks = ["linear", "qvc3"]
attacks = ["pgd"]
eps = "grid"
images = "some"
shown = 7
also = [{ attacks = ["fgsm"], eps = "short", images = "few" }]
"""


def run(arguments, status=0):
    from qarmor.cli import run as command

    assert command(arguments) == status


@pytest.fixture(scope="module")
def text(bright):
    return STUDY.format(source=bright)


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    place = tmp_path_factory.mktemp("gallery")
    (place / "study.toml").write_text(text + GALLERY)
    run(["run", str(place / "study.toml"), "--out", str(place / "out"), "--engine", "inline"])
    return place / "out"


@pytest.fixture
def folder(made, tmp_path):
    return read_folder(shutil.copytree(made, tmp_path / "copy"))


def tasks_of(folder):
    return [task for plan in folder.plans for task in plan.tasks.values() if task.kind == "gallery"]


def test_a_gallery_asks_for_no_other_attacks_and_changes_no_key(text):
    before, after = (make(spec.parse(one), "bright").tasks for one in (text, text + GALLERY))
    assert list(before) == [key for key in after if key in before]
    new = [task for key, task in after.items() if key not in before]
    assert [task.kind for task in new] == ["gallery", "gallery"]
    assert [task.spec["eps"] for task in new] == [[0.05, 0.1], [0.2]], "eps 0 is the clean image"
    assert new[0].spec["index"] == new[1].spec["index"], "both attacks show the same images"


def test_only_the_first_seed_has_a_gallery(text):
    study = spec.parse(text.replace("title", "seeds = [3, 4]\ntitle", 1) + GALLERY)
    found = [task for task in make(study, "bright").tasks.values() if task.kind == "gallery"]
    assert [task.spec["networks"] for task in found] == [["linear (seed 3)", "qvc3 (seed 3)"]] * 2


def test_images_are_drawn_class_by_class_from_those_that_all_attacks_have(bright):
    dataset = load(str(bright))
    subsets = [{"n": 20, "seed": 0}, {"n": 12, "seed": 0}]
    few = set(dataset.test.subset(12, 0).index.tolist())
    labels = dict(zip(dataset.test.index.tolist(), dataset.test.y.tolist(), strict=True))
    found = balanced(dataset, subsets, 7, 5)
    assert found == balanced(dataset, subsets, 7, 5)
    assert set(found) <= few
    counts = [[labels[index] for index in found].count(k) for k in range(3)]
    there = [[labels[index] for index in few].count(k) for k in range(3)]
    assert max(counts) - min(counts) <= 1 or min(counts) == min(there)
    assert [labels[index] for index in found] == sorted(labels[index] for index in found)
    assert {tuple(balanced(dataset, subsets, 3, seed)) for seed in range(9)} != {tuple(balanced(dataset, subsets, 3, 0))}
    assert set(balanced(dataset, subsets, 100, 5)) == few, "all that there are"


def test_what_is_stored_is_what_the_networks_say_of_the_stored_attacks(made):
    folder = read_folder(made)
    (task, _) = tasks_of(folder)
    stored = read_tensors(folder.store.folder(task.key) / "gallery.safetensors")
    test = load(task.context["source"]).test
    at = [test.index.tolist().index(index) for index in task.spec["index"]]
    assert stored["index"].tolist() == task.spec["index"]
    assert stored["labels"].equal(test.y[at])
    assert stored["clean"].equal((test.x[at] * 255).round().to(torch.uint8))
    assert stored["probabilities"].shape == (2, 3, 7, 3)
    for e, eps in enumerate([None, *task.spec["eps"]]):
        x = test.x[at]
        if eps is not None:
            crafted = read_tensors(folder.store.folder(task.inputs[f"adversarials-{e - 1}"]) / "adversarials.safetensors")
            x = crafted["x"][[crafted["index"].tolist().index(index) for index in task.spec["index"]]]
            shown = test.x[at] + stored["perturbation"][e - 1] / 127 * eps
            assert (shown - x).abs().max() <= eps / 254 + 1e-6
            assert stored["perturbation"][e - 1].abs().max() == 127
        for m in range(2):
            network = read_network(folder.store, task.inputs[f"network-{m}"], task.context["source"])
            with torch.no_grad():
                logits = network(x)
            torch.testing.assert_close(stored["probabilities"][m, e], logits.double().softmax(1).float(), rtol=0, atol=1e-6)
            assert stored["predictions"][m, e].tolist() == logits.argmax(1).tolist()


def test_results_name_everything(made):
    results = json.loads((made / "results.json").read_text())
    section = next(one for one in results["sections"] if one["name"] == "gallery")
    assert (section["status"], section["done"], section["planned"]) == ("complete", 2, 2)
    told = [{name: entry[name] for name in ("dataset", "source", "attack", "eps", "networks")} for entry in section["entries"]]
    common = {"dataset": "bright", "source": "linear", "networks": ["linear", "qvc3"]}
    assert told == [{**common, "attack": "pgd", "eps": [0.05, 0.1]}, {**common, "attack": "fgsm", "eps": [0.2]}]
    assert all((made / entry["arrays"]).is_file() and entry["labels"] == sorted(entry["labels"]) for entry in section["entries"])
    assert 'class="gallery"' in (made / "index.html").read_text()


@pytest.mark.parametrize("what", ["probabilities", "predictions", "clean", "perturbation"])
def test_verify_catches_a_changed_number(folder, what, capsys):
    task, store = tasks_of(folder)[0], folder.store
    assert looks(folder, task) == (0, [])
    tensors = read_tensors(store.folder(task.key) / "gallery.safetensors")
    tensors[what].view(-1)[0] += 0.001 if what == "probabilities" else 1
    shutil.rmtree(store.folder(task.key))  # and written anew, so that the sums of the files are right
    store.write(task.key, task.kind, task.spec, task.inputs, lambda at: write_tensors(at / "gallery.safetensors", tensors) or {})
    run(["verify", str(folder.path)], status=1)
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"gallery of pgd on linear, bright: {what} comes out otherwise than stored, by up to" in said


def test_verify_looks_at_galleries(made):
    run(["verify", str(made)])


def test_a_network_with_other_classes_is_refused(text, tmp_path, monkeypatch, caplog):
    (tmp_path / "wide.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    wide = text + '[networks.wide]\nmodel = "wide:make"\n' + GALLERY.replace('"qvc3"]', '"wide"]')
    (tmp_path / "study.toml").write_text(wide)
    run(["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--engine", "inline"], status=1)
    assert "network 'wide' has 5 classes, bright has 3; leave it out of the gallery" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["fgsm"], eps = "short"', '["none"], eps = "short"'), "sections.gallery.also.0.attacks: there is no attack 'none'"),
        (('["fgsm"], eps = "short"', '["pgd"], eps = "short"'), r"sections.gallery.attacks: has an attack twice, got ['pgd', 'pgd']"),
        (('["fgsm"], eps = "short"', '["fgsm"], eps = "long"'), "sections.gallery.also.0.eps: there is no table eps.long"),
        (('images = "few" }', 'images = "none" }'), "sections.gallery.also.0.images: there is no images.none"),
        (("shown = 7", "shown = 0"), "sections.gallery.shown: input should be greater than or equal to 1, got 0"),
        (('networks = ["linear", "qvc3"]', "networks = []"), "sections.gallery.networks: list should have at least 1 item"),
    ],
)
def test_what_cannot_be(text, change, message):
    assert change[0] in GALLERY
    with pytest.raises(spec.SpecError) as caught:
        spec.parse(text + GALLERY.replace(*change))
    assert message in str(caught.value)


def test_the_page_reads_perturbations_in_the_steps_that_they_are_stored_in() -> None:
    """The page may not import studies, so the number stands in both."""
    assert shown.STEPS == stored.STEPS
