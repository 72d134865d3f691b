"""A section of kind ``overview``: planned, made, collected and verified."""

import contextlib
import json
import shutil

import pytest
import torch

from qarmor import data, report
from qarmor.studies import folder, plan, presets, run, spec
from qarmor.studies.choice import in_turn
from qarmor.studies.tasks.common import read_tensors
from qarmor.studies.tasks.craft import read_adversarials
from qarmor.studies.tasks.overview import telling
from qarmor.studies.verify import verify
from tests.studies.test_verify import change, seal

STUDY = """
title = "Small"
images = { few = 15 }
seeds = [3, 4]
[datasets.d]
source = "BRIGHT"
[networks]
linear = { epochs = 1, batch_size = 16, lr = 3e-2 }
qvc2 = {}
qvc5 = { network = "qvc5", options = { logit_scale = 5.0 } }
resnet18 = { epochs = 1 }
[attacks]
pgd = { steps = 2 }
[sections.crossed]
kind = "transfer"
title = "Crossed"
sources = ["linear"]
targets = ["linear"]
attacks = ["pgd"]
eps = [0.1, 0.3]
images = "few"
[sections.all]
kind = "overview"
item = "Fig 1"
title = "Overview"
source = "linear"
attack = "pgd"
eps = 0.3
images = "few"
shown = 5
networks = ["linear", "qvc2", "qvc5", "resnet18"]
"""


@pytest.fixture(scope="module")
def text(bright):
    return STUDY.replace("BRIGHT", str(bright))


@pytest.fixture(scope="module")
def made(tmp_path_factory, text):
    """The folder of the study, run once."""
    out = tmp_path_factory.mktemp("overview") / "out"
    request = run.Request("small", spec.parse(text), None, [], "qarmor run small")
    state = run.run(request, out, run.Engine("inline"), lambda state, store: contextlib.nullcontext())
    assert (state.failed, state.done) == ({}, state.total)
    return out


@pytest.fixture(scope="module")
def section(made):
    return json.loads((made / "results.json").read_text())["sections"][1]


def test_it_adds_no_training_and_no_attack(text):
    whole = plan.make(spec.parse(text), "d").tasks
    without = plan.make(spec.parse(text[: text.index("[sections.all]")]), "d").tasks
    added = [whole[key] for key in whole if key not in without]
    assert set(without) < set(whole)
    assert [task.label for task in added] == [
        *(f"architecture of {name}, d" for name in ("linear", "qvc2", "qvc5", "resnet18")),
        "pictures of pgd on linear (seed 3), d",
    ]
    (crafted,) = added[-1].inputs.values()
    assert (whole[crafted].kind, whole[crafted].spec["eps"], whole[crafted].spec["seed"]) == ("craft", 0.3, 3)


def test_data_that_are_no_images_have_architectures_alone(text, tmp_path):
    import numpy as np

    path = tmp_path / "flat.npz"
    y = np.arange(9) % 3
    np.savez(path, x_train=np.full((9, 64), 0.5), y_train=y, x_test=np.full((9, 64), 0.5), y_test=y)
    start = text.index('source = "') + len('source = "')
    flat = text[:start] + str(path) + text[text.index('"', start) :]
    flat = flat.replace('"qvc5", "resnet18"]', '"qvc5"]')
    kinds = [task.kind for task in plan.make(spec.parse(flat), "d").tasks.values()]
    assert (kinds.count("architecture"), kinds.count("pictures")) == (3, 0)


def test_ready_made_networks_are_left_out(text, made, tmp_path):
    opened = folder.read(made)
    key = next(key for key, task in opened.plans[0].tasks.items() if task.kind == "train")
    path = shutil.copy(opened.store.folder(key) / "network.safetensors", tmp_path / "network.safetensors")
    study = spec.parse(text.replace("qvc2 = {}", f'qvc2 = {{ model = "{path}" }}'))
    assert [t.label for t in plan.make(study, "d").tasks.values() if t.kind == "architecture"] == [
        f"architecture of {name}, d" for name in ("linear", "qvc5", "resnet18")
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('source = "linear"', 'source = "linea"', "study: sections.all.source: there is no network 'linea'; there are linear, qvc2, qvc5, resnet18"),
        ('attack = "pgd"', 'attack = "pdg"', "study: sections.all.attack: there is no attack 'pdg'; there are pgd"),
        ('"qvc5", "resnet18"]', '"qvc6"]', "study: sections.all.networks: there is no network 'qvc6'; there are linear, qvc2, qvc5, resnet18"),
        ("shown = 5", "shown = 21", "study: sections.all.shown: input should be less than or equal to 20, got 21"),
    ],
)
def test_what_cannot_be_is_refused(text, before, after, message):
    at = text.index("[sections.all]")
    with pytest.raises(spec.SpecError) as raised:
        spec.parse(text[:at] + text[at:].replace(before, after))
    assert str(raised.value) == message


def test_a_preset_cannot_leave_out_the_source(text):
    text = text.replace('sources = ["linear"]\ntargets = ["linear"]', 'sources = ["linear", "qvc2"]\ntargets = ["linear", "qvc2"]')
    study = spec.parse(f'{text}[presets.quick]\nwithout = ["linear"]\n')
    with pytest.raises(spec.SpecError) as raised:
        presets.resolve(study, "quick", "s")
    assert str(raised.value) == "s: presets.quick.without: sections.all.source is 'linear'; name another network there, or leave it in"


@pytest.mark.parametrize(
    ("y", "count", "expected"), [([1, 1, 0, 2, 0, 0], 5, [2, 0, 3, 4, 1]), ([0, 0, 0, 1], 9, [0, 3, 1, 2]), ([3], 1, [0]), ([2, 0], 1, [1])]
)
def test_every_class_has_its_turn(y, count, expected):
    assert in_turn(torch.tensor(y), count).tolist() == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [([1, 0, 0, 0], [2, 0, 1, 2], 2), ([1, 0, 0, 0], [2, 0, 0, 0], 1), ([1, 2, 1, 2], [0, 0, 0, 0], 0), ([0, 0, 0, 0], [2, 0, 0, 0], 0)],
)
def test_the_image_that_tells_most_is_chosen(before, after, expected):
    assert telling(torch.zeros(4, dtype=torch.int64), torch.tensor(before), torch.tensor(after)) == expected


def test_what_is_collected(made, section, bright):
    assert [section[k] for k in ("kind", "item", "status", "done", "planned", "source", "attack", "eps")] == [
        *("overview", "Fig 1", "complete", 5, 5, "linear", "pgd", 0.3)
    ]
    (entry,) = section["entries"]
    assert entry["labels"] == [0, 1, 2, 0, 1]
    opened = folder.read(made)
    task = next(task for task in opened.plans[0].tasks.values() if task.kind == "pictures")
    adversarials = read_adversarials(opened.store, task.inputs["adversarials"], "linear", "d", str(bright))
    y, before, after = adversarials.images.y, adversarials.source_clean_predictions, adversarials.source_adversarial_predictions
    works = ((before == y) & (after != y)).nonzero()[:, 0]
    assert len(works)  # else this test sees nothing
    first = int(works[0])
    assert entry["example"] == {
        **{"index": int(adversarials.images.index[first]), "label": int(y[first])},
        **{"before": int(before[first]), "after": int(after[first])},
    }
    kept = read_tensors(opened.store.folder(task.key) / "pictures.safetensors")
    assert torch.equal(kept["adversarial"][0], adversarials.x[first])
    test = data.load(str(bright)).test
    assert torch.equal(kept["images"], test.x[kept["index"]])
    assert kept["labels"].tolist() == test.y[kept["index"]].tolist() == entry["labels"]


def test_architectures_are_those_of_the_networks(section):
    found = {one["network"]: one for one in section["architectures"]}
    assert list(found) == ["linear", "qvc2", "qvc5", "resnet18"]
    assert {name: one["parameters"] for name, one in found.items()} == {"linear": 195, "qvc2": 37, "qvc5": 91, "resnet18": 11_171_779}
    assert [found[name]["layers"] for name in ("qvc2", "qvc5", "resnet18")] == [2, 5, 18]
    assert (found["qvc2"]["scale"], found["qvc5"]["scale"]) == (16.0, 5.0)


def test_the_page_has_all_of_it(made):
    page = report.write(made).read_text()
    assert page.count('class="diagram"') == 5  # linear, one circuit of two depths, resnet18, and two kinds of judges
    assert "2 or 5 times" in page
    assert "test image" in page
    files = {path.name for path in (made / "figures").glob("all_*.svg")}
    assert files == {f"all_{name}.svg" for name in ("d_linear", "d_qvc2", "d_resnet18", "classical", "quantum")}


def verified(opened):
    return verify(opened, lambda number, of, text: None)


def test_a_verification_makes_it_again(made, tmp_path):
    opened = folder.read(shutil.copytree(made, tmp_path / "out"))
    assert verified(opened).problems == ()
    keys = {task.label: key for key, task in opened.plans[0].tasks.items() if task.kind in ("pictures", "architecture")}

    def edit(tensors):
        tensors["labels"][0] = 2

    change(opened, keys["pictures of pgd on linear (seed 3), d"], "pictures.safetensors", edit)
    path = opened.store.folder(keys["architecture of qvc5, d"]) / "architecture.json"
    path.write_text(path.read_text().replace('"layers": 5', '"layers": 6'))
    seal(opened.store, keys["architecture of qvc5, d"])
    assert verified(opened).problems == (
        "architecture of qvc5, d: architecture.json comes out otherwise than stored",
        "pictures of pgd on linear (seed 3), d: pictures.safetensors comes out otherwise than stored",
    )


def test_west2023_misses_nothing():
    study = spec.read("west2023")
    assert [name for name, section in study.sections.items() if section.kind == "missing"] == []
    overview = study.sections["fig1abcd"]
    (same,) = [study.sections["fig2"]]
    assert overview.source in same.sources, "else its attack would be made for the overview alone"
    for preset in spec.PRESETS:
        resolved = presets.resolve(study, preset)
        assert overview.eps in resolved.grid(same.eps)
        assert (overview.attack in same.attacks, overview.images) == (True, same.images)
