"""Plans: each thing once, under a key that changes with what it depends on and with nothing else."""

import shutil

import pytest

from qarmor.studies import plan, spec
from qarmor.studies.plan import Plan
from qarmor.studies.spec import SpecError

STUDY = """
title = "t"
images = { few = 6 }
eps = { grid = [0.1, 0.2] }
[datasets.d]
source = "BRIGHT"
[networks.linear]
epochs = 1
[networks.qvc2]
epochs = 1
[attacks.pgd]
steps = 2
[attacks.fgsm]
[sections.first]
kind = "transfer"
title = "first"
sources = ["linear", "qvc2"]
targets = ["linear", "qvc2"]
attacks = ["pgd", "fgsm"]
eps = "grid"
images = "few"
"""
SECOND = """
[sections.second]
kind = "transfer"
title = "second"
sources = ["linear"]
targets = ["linear", "qvc2"]
attacks = ["pgd"]
eps = [0.2, 0.3]
images = 6
[sections.looks]
kind = "perturbations"
title = "looks"
sources = ["linear"]
attacks = ["pgd"]
eps = 0.1
images = "few"
[sections.clean]
kind = "clean"
title = "clean"
networks = ["linear", "qvc2"]
[sections.table]
kind = "resources"
title = "table"
networks = ["linear", "qvc2"]
[sections.curves]
kind = "probabilities"
title = "curves"
networks = ["linear", "qvc2"]
attack = "fgsm"
eps = "grid"
images = "few"
"""


@pytest.fixture
def make(bright):
    """The plan of a study given as TOML text, whose data set is the small one."""

    def made(text: str, dataset: str = "d") -> Plan:
        return plan.make(spec.parse(text.replace("BRIGHT", str(bright))), dataset, "x.toml")

    return made


def of(made: Plan, *kinds: str) -> set[str]:
    return {key for key, task in made.tasks.items() if task.kind in kinds}


def labels(made: Plan, *kinds: str) -> set[str]:
    return {task.label for task in made.tasks.values() if task.kind in kinds}


def changed(old: str, new: str, text: str = STUDY) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_inputs_come_before_what_needs_them_and_all_are_there(make):
    seen = set()
    for key, task in make(STUDY + SECOND).tasks.items():
        assert task.key == key
        assert set(task.inputs.values()) <= seen
        seen.add(key)


def test_a_network_and_an_attack_are_made_once_whichever_sections_need_them(make):
    one, both = make(STUDY), make(STUDY + SECOND)
    assert len(of(one, "train")) == 2
    assert len(of(one, "craft")) == 2 * 2 * 2
    assert len(of(one, "score")) == 2 * 2 * 2 * 2
    assert len(of(one, "clean")) == 2
    assert of(both, "train") == of(one, "train")
    assert of(both, "craft") - of(one, "craft") == {k for k, t in both.tasks.items() if t.kind == "craft" and t.spec["eps"] == 0.3}
    assert len(of(both, "craft")) == len(of(one, "craft")) + 1
    assert len(of(both, "score")) == len(of(one, "score")) + 2
    assert set(one.tasks) < set(both.tasks)
    shared = next(t for t in both.tasks.values() if t.label.startswith("pgd on linear, eps 0.1"))
    assert dict(shared.roles) == {"first": "pgd|linear|0.1", "looks": "pgd|linear|0.1"}


def test_a_network_under_two_names_is_trained_once(make):
    text = STUDY.replace("[attacks.pgd]", "[networks.again]\nnetwork = 'linear'\nepochs = 1\n[attacks.pgd]")
    made = make(changed('["linear", "qvc2"]\ntargets', '["linear", "again", "qvc2"]\ntargets', text))
    assert len(of(made, "train")) == 2
    assert len(of(made, "craft")) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps = 2", 'steps = 2\nloss = "ce"\nrandom_start = true\nrestarts = 1'),
        ("[attacks.fgsm]", '[attacks.fgsm]\nattack = "fgsm"\nloss = "ce"'),
        ("[networks.linear]\n", '[networks.linear]\nnetwork = "linear"\nrecipe = "linear"\nlr = 3e-3\nbatch_size = 64\nschedule = "cosine"\n'),
        ("[networks.qvc2]\n", '[networks.qvc2]\nrecipe = "tuned"\n'),
        ('title = "t"', 'title = "another"\nnote = "n"\nthreads = 1\nseeds = [0]\nimage_seed = 0\ndevice = "cpu"\ntrain = 48'),
        ("[sections.first]\n", "[sections.first]\nitem = 'Fig 2'\nnote = 'n'\n"),
        ('eps = "grid"', "eps = [0.1, 0.2]"),
        ("[0.1, 0.2]", "[0.1, 0.20]"),
    ],
)
def test_a_default_written_out_and_words_are_the_same_tasks(make, old, new):
    assert set(make(changed(old, new)).tasks) == set(make(STUDY).tasks)


def test_a_new_eps_adds_only_itself(make):
    before, after = make(STUDY + SECOND), make(changed("grid = [0.1, 0.2]", "grid = [0.1, 0.15, 0.2]", STUDY) + SECOND)
    assert set(before.tasks) - set(after.tasks) == of(before, "probabilities")  # one picture of the whole grid
    added = [after.tasks[key] for key in set(after.tasks) - set(before.tasks)]
    assert sorted(t.kind for t in added) == ["craft"] * 4 + ["probabilities"] + ["score"] * 8
    assert all(task.spec["eps"] == 0.15 for task in added if task.kind == "craft")


def test_renaming_remakes_no_training_and_no_attack(make):
    renamed = STUDY.replace("linear", "flat").replace("[networks.flat]", "[networks.flat]\nnetwork = 'linear'").replace("pgd", "strong")
    renamed = renamed.replace("[attacks.strong]", "[attacks.strong]\nattack = 'pgd'").replace("sections.first", "sections.other")
    before, after = make(STUDY), make(renamed)
    assert of(after, "train", "craft") == of(before, "train", "craft")
    assert of(before, "score").isdisjoint({k for k, t in after.tasks.items() if "flat" in t.label and t.kind == "score"})


def test_where_the_data_set_lies_does_not_matter_and_what_is_in_it_does(make, bright, tmp_path):
    import numpy as np

    before = make(STUDY)
    shutil.copy(bright, tmp_path / "copy.npz")
    assert set(make(STUDY.replace("BRIGHT", str(tmp_path / "copy.npz"))).tasks) == set(before.tasks)
    arrays = dict(np.load(bright))
    arrays["x_test"][0, 0, 0, 0] += 0.001
    np.savez(tmp_path / "other.npz", **arrays)
    assert not set(make(STUDY.replace("BRIGHT", str(tmp_path / "other.npz"))).tasks) & set(before.tasks)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ('title = "t"', 'title = "t"\nseeds = [1]', ()),
        ('title = "t"', 'title = "t"\nthreads = 2', ()),
        ('title = "t"', 'title = "t"\ntrain = 40', ()),
        ('title = "t"', 'title = "t"\nimage_seed = 1', ("train",)),
        ("few = 6", "few = 7", ("train",)),
        ("few = 6", "few = 24", ("train",)),
    ],
)
def test_what_everything_depends_on(make, old, new, kept):
    before, after = make(STUDY), make(changed(old, new))
    assert set(before.tasks) & set(after.tasks) == of(before, *kept)
    assert len(before.tasks) == len(after.tasks)


@pytest.mark.parametrize(
    ("old", "new", "network"),
    [
        ("[networks.linear]\n", "[networks.linear]\nlr = 1e-2\n", "linear"),
        ("[networks.linear]\n", "[networks.linear]\nbatch_size = 8\n", "linear"),
        ("[networks.linear]\n", '[networks.linear]\nschedule = "constant"\n', "linear"),
        ("[networks.linear]\n", '[networks.linear]\nadversarial = { attack = "fgsm", eps = 0.1 }\n', "linear"),
        ("[networks.qvc2]\n", '[networks.qvc2]\nrecipe = "bare"\n', "qvc2"),
        ("[networks.qvc2]\n", "[networks.qvc2]\noptions = { logit_scale = 3.0 }\n", "qvc2"),
    ],
)
def test_what_one_network_depends_on(make, old, new, network):
    before, after = make(STUDY), make(changed(old, new))
    assert labels(after, "train", "craft") == labels(before, "train", "craft")
    gone = set(before.tasks) - set(after.tasks)
    assert {t.label for k, t in before.tasks.items() if t.kind == "train" and k in gone} == {f"train {network}, d"}
    # it is neither source nor target of what is kept
    assert {k for k, t in before.tasks.items() if network in t.label} == gone


def test_several_seeds_add_and_keep(make):
    one, two = make(STUDY + SECOND), make(STUDY.replace('title = "t"', 'title = "t"\nseeds = [0, 3]') + SECOND)
    assert set(one.tasks) < set(two.tasks)
    assert labels(two, "train") == labels(one, "train") | {"train linear (seed 3), d", "train qvc2 (seed 3), d"}
    assert {t.spec["seed"] for t in two.tasks.values() if t.kind == "craft"} == {0, 3}
    # a source is judged by networks of its own seed only, and what does not depend on the seed is there once
    assert len(of(two, "score")) == 2 * len(of(one, "score"))
    assert (len(of(two, "resources")), len(of(two, "probabilities"))) == (2, 1)


def test_networks_restricted_to_data_sets(make):
    text = STUDY.replace("[networks.linear]", '[datasets.e]\nsource = "BRIGHT"\n[networks.linear]')
    text = text.replace("[networks.qvc2]", '[networks.qvc2]\ndatasets = ["e"]') + SECOND
    here, there = make(text), make(text, "e")
    assert set(here.about["networks"]) == {"linear"}
    assert set(there.about["networks"]) == {"linear", "qvc2"}
    assert not any("qvc2" in task.label for task in here.tasks.values())
    # the content is the same, so what no data set's name is part of is shared
    assert of(here, "train", "craft") < of(there, "train", "craft")


def test_sections_restricted_to_data_sets(make):
    text = STUDY.replace("[networks.linear]", '[datasets.e]\nsource = "BRIGHT"\n[networks.linear]')
    text += SECOND.replace('title = "clean"', 'title = "clean"\ndatasets = ["e"]')
    assert not any(section == "clean" for task in make(text).tasks.values() for section, _ in task.roles)
    assert sum(section == "clean" for task in make(text, "e").tasks.values() for section, role in task.roles if role == "clean") == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[networks.qvc2]\n",
            "[networks.qvc2]\noptions = { qubits = 4 }\n",
            "networks.qvc2.options.qubits: qubits must be 6 or more for 64 pixels and 3 classes, got 4",
        ),
        (
            "[networks.qvc2]\n",
            '[networks.qvc2]\nnetwork = "qvc1000"\noptions = { qubits = 4 }\n',
            "networks.qvc2.options.qubits: qubits must be 6 or more",
        ),
        ("[networks.qvc2]\n", "[networks.qvc2]\noptions = { qbits = 4 }\n", "networks.qvc2: .*qbits"),
        (
            "[networks.qvc2]\n",
            "[networks.qvc2]\noptions = { logit_scale = -1.0 }\n",
            "networks.qvc2.options.logit_scale: logit_scale must be positive and finite, got -1.0",
        ),
        (
            "[networks.qvc2]\n",
            '[networks.qvc2]\noptions = { padding = "left" }\n',
            "networks.qvc2.options.padding: padding must be 'end' or 'centre', got 'left'",
        ),
        ("[networks.qvc2]\n", '[networks.qvc2]\nrecipe = "best"\n', "networks.qvc2: network 'qvc2' has no recipe 'best'; it has paper, bare, tuned"),
        ("[networks.qvc2]\n", '[networks.qvc2]\nnetwork = "vgg"\n', "networks.qvc2: unknown network 'vgg'"),
        ("[networks.linear]\n", "[networks.linear]\nlr = inf\n", "networks.linear: recipe: lr must be positive and finite, got inf"),
        ("[networks.qvc2]\nepochs = 1\n", '[networks.qvc2]\nmodel = "none.safetensors"\n', "networks.qvc2: no network at none.safetensors"),
        ("[networks.qvc2]\nepochs = 1\n", '[networks.qvc2]\nmodel = "no_such_module:f"\n', "networks.qvc2: 'no_such_module:f': cannot import"),
        ("steps = 2", "steps = 0", "attacks.pgd.steps: steps must be .*0"),
        ("steps = 2", "step = 2", "attacks.pgd: .*'step'"),
        ("steps = 2", 'attack = "deepfool"', "attacks.pgd: unknown attack 'deepfool'"),
        ("[attacks.fgsm]", "[attacks.fgsm]\nloss = 'l2'", "attacks.fgsm.loss: loss must be one of"),
        ("[attacks.fgsm]", "[attacks.fgsm]\nbatch_size = 0", "attacks.fgsm.batch_size: batch_size"),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(make, old, new, message):
    with pytest.raises(SpecError, match=f"^x.toml: {message}") as caught:
        make(changed(old, new))
    assert "\n" not in str(caught.value)


def test_more_classes_than_qubits_and_more_pixels_than_amplitudes(make, own):
    name = own(
        "import torch\nfrom qarmor.models import QVC\n"
        "def few(dataset):\n    return QVC(2, 1, 3)\n"
        "def small(dataset):\n    return QVC(3, 1, 3, shape=dataset.shape)\n"
    )
    for factory, message in {"few": "3 classes need at least 3 qubits", "small": "64 pixels and need 6 qubits"}.items():
        with pytest.raises(SpecError, match=rf"networks\.qvc2: .*{message}"):
            make(changed("[networks.qvc2]\n", f'[networks.qvc2]\nnetwork = "{name}:{factory}"\n'))


def test_no_such_data_set(make, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.npz"):
        make(STUDY.replace("BRIGHT", str(tmp_path / "none.npz")))


def test_json_round_trip(make):
    made = make(STUDY.replace('title = "t"', 'title = "t"\nseeds = [0, 1]') + SECOND)
    back = Plan.from_json(made.to_json())
    assert back == made
    assert list(back.tasks) == list(made.tasks)
    assert back.to_json() == made.to_json()


def test_estimates_are_positive_and_grow_with_the_work(make):
    by_label = {task.label: task for task in make(STUDY).tasks.values()}
    more = {task.label: task for task in make(STUDY.replace("epochs = 1", "epochs = 50").replace("steps = 2", "steps = 40")).tasks.values()}
    assert all(task.seconds > 0 for task in by_label.values())
    for label in ("train qvc2, d", "pgd on qvc2, eps 0.1, 6 images, d"):
        assert more[label].seconds > by_label[label].seconds
        assert more[label].memory == by_label[label].memory > 100_000_000
