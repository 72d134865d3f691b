"""Which tasks an edit of the code makes again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qarmor
from qarmor.studies import planner
from tests.studies.test_plan import SECOND, STUDY

ADDED = ("", "\n_EDITED = 1\n")
OVERVIEW = """
[sections.overview]
kind = "overview"
title = "overview"
source = "linear"
attack = "pgd"
eps = 0.1
images = "few"
networks = ["linear", "qvc2"]
"""

EDITS = {
    "nothing": {},
    "attack": {"attacks/gradient.py": ("z = x\n", "z = 1 * x\n")},
    "circuit": {"circuits/cpu/plan.py": ADDED},
    "training": {"training/fit.py": ADDED},
    "judging": {"evaluation/statistics.py": ADDED},
    "words": {
        "attacks/gradient.py": ("z = x\n", "z = x  # the image\n\n"),
        "attacks/base.py": ('"""', '"""Edited. '),
        "training/fit.py": ('"""', '"""Edited. '),
        "models/qvc.py": ('"""', '"""Edited. '),
        "studies/tasks/craft.py": ('"""', '"""Edited. '),
    },
    "elsewhere": dict.fromkeys(
        (
            "cli/app.py",
            "report/page.py",
            "studies/engine.py",
            "studies/plan.py",
            "studies/store.py",
            "studies/spec.py",
            "studies/collect.py",
            "studies/tasks/execute.py",
            "models/__init__.py",
            "models/convnet.py",
            "models/resnet.py",
            "training/__init__.py",
            "training/recipes.py",
            "evaluation/claims.py",
        ),
        ADDED,
    ),
}
# Each edit is made and planned by a process that has planned nothing before; the package is imported only once, since that takes seconds.
SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
import qarmor
from qarmor import data, models
from qarmor.studies import plan, spec

root, study, edits = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
assert Path(qarmor.__file__).is_relative_to(root)
with torch.device("meta"):
    models.build("qvc2", data.load(spec.read(study).datasets["d"].source))  # loads what is loaded late
for label, files in edits.items():
    before = {name: (root / "qarmor" / name).read_text() for name in files}
    for name, (old, new) in files.items():
        assert old in before[name], f"{name} has no {old!r} any more: choose another edit"
        (root / "qarmor" / name).write_text(before[name].replace(old, new, 1) if old else before[name] + new)
    if not (child := os.fork()):
        tasks = plan.make(spec.read(study), "d").tasks.values()
        (root / f"{label}.json").write_text(json.dumps([[t.kind, t.label, t.key] for t in tasks]))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for name, text in before.items():
        (root / "qarmor" / name).write_text(text)
"""
EDITED = (
    STUDY.replace(
        "[networks.linear]", '[networks.hard]\nnetwork = "linear"\nepochs = 1\nadversarial = { attack = "pgd", eps = 0.1 }\n[networks.linear]'
    )
    .replace('targets = ["linear", "qvc2"]', 'targets = ["linear", "hard", "qvc2"]')
    .replace('["pgd", "fgsm"]', '["pgd"]')
    .replace("[0.1, 0.2]", "[0.1]")
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory, bright):
    """Keys of all tasks, by kind and label, for each of EDITS to a copy of the package."""
    root = tmp_path_factory.mktemp("copied")
    shutil.copytree(Path(qarmor.__file__).parent, root / "qarmor", ignore=shutil.ignore_patterns("__pycache__"))
    study = root / "study.toml"
    study.write_text((EDITED + "\n[sections.looks]" + SECOND.split("[sections.looks]")[1] + OVERVIEW).replace("BRIGHT", str(bright)))
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(root), str(study), json.dumps(EDITS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return {label: {(kind, text): key for kind, text, key in json.loads((root / f"{label}.json").read_text())} for label in EDITS}


@pytest.fixture(scope="module")
def differ(keys):
    """The tasks whose key an edit changes."""
    before = keys["nothing"]
    assert {kind for kind, _ in before} == set(planner.KINDS) - {"import", "noise", "shots", "certify", "detect", "gallery"}

    def found(label: str) -> set[tuple[str, str]]:
        assert before.keys() == keys[label].keys()
        return {task for task in before if before[task] != keys[label][task]}

    return found


def test_editing_an_attack_remakes_its_results_and_the_networks_trained_with_it_only(differ, keys):
    attacked = {task for task in keys["nothing"] if task[0] in ("craft", "score", "perturbations", "probabilities", "pictures")}
    hard = {("train", "train hard, d"), ("clean", "hard on 6 clean images, d")}
    assert differ("attack") == attacked | hard
    assert ("clean", "linear on 6 clean images, d") in keys["nothing"]


def test_editing_the_circuit_remakes_what_is_made_with_quantum_networks_only(differ):
    found = differ("circuit")
    assert {t for t in found if t[0] in ("train", "resources", "architecture")} == {
        ("train", "train qvc2, d"),
        *((kind, f"{kind} of qvc2, d") for kind in ("resources", "architecture")),
    }
    assert {t for t in found if t[0] == "craft"} == {("craft", "pgd on qvc2, eps 0.1, 6 images, d")}
    under_linear = {text.partition(" ")[0] for kind, text in found if kind == "score" and "pgd on linear" in text}
    assert under_linear == {"qvc2"}


def test_editing_the_training_loop_remakes_all_but_the_table(differ, keys):
    assert set(keys["nothing"]) - differ("training") == {task for task in keys["nothing"] if task[0] in ("resources", "architecture")}


def test_editing_how_networks_are_judged_remakes_the_verdicts_only(differ):
    assert {kind for kind, _ in differ("judging")} == {"score", "clean"}


@pytest.mark.parametrize("edit", ["words", "elsewhere"])
def test_editing_comments_docstrings_and_what_takes_no_part_remakes_nothing(differ, edit):
    assert differ(edit) == set()
