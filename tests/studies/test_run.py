"""Whole studies by the command line: edited, moved, damaged, of several seeds, with other people's code, and on workers with threads."""

import json
import shutil
import sys

import pytest

from qarmor.studies.fingerprint import _dump, _tree_digest

TWO = """
title = "Two sets"
images = {{ few = 12 }}
[datasets.a]
source = "small.npz"
[datasets.b]
source = "other.npz"
[networks.linear]
epochs = 1
[attacks.pgd]
steps = {steps}
[sections.main]
kind = "transfer"
title = "Main"
sources = ["linear"]
targets = ["linear"]
attacks = ["pgd"]
eps = [0.1]
images = "few"
"""


def inline(place, name: str, *more: str) -> str:
    return place.here("run", name, "--out", "out", "--engine", "inline", *more)


def test_an_edited_study_is_not_mixed_with_the_old_one(place):
    shutil.copy(place.path / "small.npz", place.path / "other.npz")
    (place.path / "two.toml").write_text(TWO.format(steps=2))
    inline(place, "two.toml")
    (place.path / "two.toml").write_text(TWO.format(steps=3))
    inline(place, "two.toml", "--only", "a")
    rows = json.loads(place.here("rows", "out", "--json"))
    assert {(row["dataset"], row["parameters"].get("steps")) for row in rows if row["source"]} == {("a/test", 3)}
    results = json.loads((place.path / "out" / "results.json").read_text())
    assert (results["sections"][0]["status"], results["sections"][0]["reason"]) == ("partial", "1 of 4 tasks are not finished")


def test_a_data_set_counts_by_its_content_wherever_it_lies(place):
    place.write(epochs=1)
    inline(place, "small.toml")
    before = place.events()
    (place.path / "sub").mkdir()
    (place.path / "small.npz").rename(place.path / "sub" / "renamed.npz")
    text = (place.path / "small.toml").read_text()
    (place.path / "small.toml").write_text(text.replace("small.npz", "sub/renamed.npz"))
    inline(place, "small.toml")
    assert place.events() == before
    assert "no problems" in place.here("verify", "out")
    (place.path / "elsewhere").mkdir()
    assert "no problems" in type(place)(place.path / "elsewhere").here("verify", str(place.path / "out"))


def test_verify_says_what_cannot_be_recomputed(place):
    place.write(epochs=1)
    inline(place, "small.toml")
    shutil.rmtree(next((place.store / "objects").rglob("adversarials.safetensors")).parent)
    runner = place.start("verify", "out")
    assert runner.wait() == 1
    assert "cannot be recomputed, since artefact" in place.said()
    assert "1 tasks are not finished" in place.said()


@pytest.mark.parametrize("file", ["study.json", "plan/small.json"])
def test_a_changed_bit_in_the_folder_s_own_files_is_found(place, file):
    place.write(epochs=1)
    inline(place, "small.toml")
    path = place.path / "out" / file
    path.write_text(path.read_text().replace("linear", "lineas", 1))
    runner = place.start("verify", "out")
    assert runner.wait() == 1
    assert "was changed after it was written" in place.said()
    assert "run the study again, results are kept" in place.said()


def test_claims_are_decided_on_all_seeds_of_a_study(place):
    networks = "[networks.convnet]\nnetwork = 'linear'\nepochs = 1\n[networks.qvc200]\nnetwork = 'linear'\nepochs = 1\n"
    names = "['convnet', 'qvc200']"
    section = f"kind = 'transfer'\ntitle = 'T'\nsources = {names}\ntargets = {names}\nattacks = ['pgd']\neps = [0.1]\nimages = 20\n"
    head = "title = 'Seeds'\nclaims = true\nseeds = [1, 2]\n[datasets.small]\nsource = 'small.npz'\n"
    (place.path / "seeds.toml").write_text(f"{head}{networks}[attacks.pgd]\nsteps = 2\n[sections.t]\n{section}")
    inline(place, "seeds.toml")
    verdicts = json.loads((place.path / "out" / "claims.json").read_text())
    (first,) = [v for v in verdicts if v["id"] == "1" and v["variant"] == "tuned"]
    assert first["verdict"] != "not measured"
    rows = json.loads(place.here("rows", "out", "--json"))
    kept = []
    for name in ("qvc200 (seed 1)", "qvc200 (seed 2)"):
        (own,) = [r for r in rows if r["source"] == r["target"] == name and r["metric"] == "accuracy"]
        (clean,) = [r for r in rows if not r["source"] and r["target"] == name]
        kept.append(own["value"] / clean["value"])
    assert first["conditions"][1]["value"] == pytest.approx(sum(kept) / 2)
    assert first["conditions"][1]["seeds"] == [1, 2]


FACULTY = """
def assertion(*a, **k):
    assert False, "not today"
def key(*a, **k):
    raise KeyError("gone")
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[networks.mlp]", '[networks.mlp]\nnetwork = "faculty:assertion"', "networks.mlp: 'faculty:assertion' raised AssertionError: not today"),
        ("[attacks.fgsm]", '[attacks.fgsm]\nattack = "faculty:key"', "attacks.fgsm: 'faculty:key' raised KeyError: 'gone'"),
        ('source = "small.npz"', 'source = "faculty:key"', "datasets.small.source: 'faculty:key' raised KeyError: 'gone'"),
        ('source = "small.npz"', 'source = "gone.npz"', "datasets.small: there is no file"),
        ("[attacks.fgsm]", '[attacks.fgsm]\nloss = "dlr"', "dlr needs three classes"),
        ('title = "Small"', 'title = "Small"\ndevice = "banana"', "device banana: not available here"),
    ],
)
def test_what_other_people_s_code_raises_is_told_in_one_line(place, old, new, message):
    (place.path / "faculty.py").write_text(FACULTY)
    if "dlr" in new:
        import numpy as np

        arrays = dict(np.load(place.path / "small.npz"))
        np.savez(place.path / "small.npz", **{k: v.clip(0, 1) if k.startswith("y") else v for k, v in arrays.items()})
    text = (place.path / "small.toml").read_text()
    assert old in text
    (place.path / "small.toml").write_text(text.replace(old, new, 1))
    runner = place.start("run", "small.toml", "--out", "out", "--engine", "inline")
    assert runner.wait() in (1, 2)
    assert message in place.said()
    assert "Traceback" not in place.said()
    assert place.said().count("\n") == 1


def test_a_worker_with_threads_does_one_task_at_a_time(place):
    """Random generators and caches belong to the process: tasks side by side in one would change each other's results."""
    text = (place.path / "small.toml").read_text().replace('title = "Small"', 'title = "Small"\nseeds = [0, 1]')
    (place.path / "drop.py").write_text(
        "import torch\ndef network(dataset):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, 3))\n"
    )
    (place.path / "small.toml").write_text(text.replace("[networks.mlp]", '[networks.mlp]\nnetwork = "drop:network"'))
    wanted = place.undisturbed()
    script = """
import distributed
with distributed.LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0") as cluster:
    print(cluster.scheduler_address, flush=True)
    input()
"""
    import subprocess

    cluster = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place.path)
    try:
        place.run("run", "small.toml", "--out", "out", "--scheduler", cluster.stdout.readline().strip())
    finally:
        cluster.communicate("\n")
    assert place.here("rows", "out", "--json") == wanted


def test_the_fingerprint_does_not_depend_on_the_python_that_computes_it():
    import ast

    tree = ast.parse("def f[T](x: int = 1, *, y=None):\n    'words'\n    return f'{x!r:>4}' + str(y)\n" if sys.version_info >= (3, 12) else "x = 1")
    assert "type_ignores" not in _dump(tree)
    plain = ast.parse("def f(x: int = 1, *, y=None):\n    'words'\n    # a comment\n    return [x, *y, -1.5, b'b', True]\n")
    assert _tree_digest(plain) == "8922b476df57a472294d4b15df2e50edb285fed1b1efc12cf3d281336f1c37cf"
