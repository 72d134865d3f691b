"""Small studies as files, run as a user runs them: by the command line, in processes of their own."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qarmor import cli
from qarmor.studies import folder, run, spec

SMALL = """
title = "Small"
images = {{ few = 20 }}
[datasets.small]
source = "small.npz"
[networks.linear]
epochs = {epochs}
batch_size = 32
[networks.qvc6]
epochs = {epochs}
batch_size = 8
[networks.mlp]
epochs = {epochs}
batch_size = 32
[attacks.pgd]
steps = 5
[attacks.fgsm]
[sections.crossed]
kind = "transfer"
title = "Crossed"
sources = ["linear", "qvc6", "mlp"]
targets = ["linear", "qvc6", "mlp"]
attacks = ["pgd", "fgsm"]
eps = [0.1, 0.2]
images = "few"
[sections.looks]
kind = "perturbations"
title = "Looks"
sources = ["linear"]
attacks = ["pgd"]
eps = 0.1
images = "few"
"""


class Place:
    """A folder with a data set and a study of it, and the command line in processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *, epochs: int = 3, extra: str = "") -> None:
        (self.path / "small.toml").write_text(SMALL.format(epochs=epochs) + extra)

    def start(self, *arguments: str) -> subprocess.Popen:
        """`qarmor …` in a process group of its own, output to a file."""
        with (self.path / "output.txt").open("a") as output:
            command = [sys.executable, "-m", "qarmor", *arguments]
            return subprocess.Popen(command, cwd=self.path, env=ENVIRONMENT, stdout=output, stderr=output, start_new_session=True)

    def run(self, *arguments: str) -> str:
        """`qarmor …` to its end; what it printed."""
        command = [sys.executable, "-m", "qarmor", *arguments]
        done = subprocess.run(command, cwd=self.path, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.said()}"
        return done.stdout

    def here(self, *arguments: str) -> str:
        """`qarmor …` in this process, which is quicker, where nothing is killed; what it printed."""
        printed = io.StringIO()
        with contextlib.chdir(self.path), contextlib.redirect_stdout(printed):
            status = cli.run(list(arguments))
        assert status == 0, f"{printed.getvalue()}\n{self.said()}"
        return printed.getvalue()

    def said(self) -> str:
        file = self.path / "output.txt"
        return file.read_text() if file.exists() else ""

    def undisturbed(self) -> str:
        """The rows of the study, run in one process from beginning to end; they don't depend on where, so a text is run once."""
        text = (self.path / "small.toml").read_text()
        if text not in _CALM:
            self.run("run", "small.toml", "--out", "calm", "--engine", "inline")
            _CALM[text] = self.here("rows", "calm", "--json")
        return _CALM[text]

    @property
    def store(self) -> Path:
        return self.path / "out" / "store"

    @property
    def journal(self) -> Path:
        return self.store / "journal.jsonl"

    def events(self) -> Counter[tuple[str, str]]:
        """How often each event of each task stands in the journal."""
        entries = map(json.loads, self.journal.read_text().splitlines())
        return Counter((entry["key"], entry["event"]) for entry in entries)


_CALM: dict[str, str] = {}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def place(tmp_path, tiny) -> Place:
    part = {"x_train": tiny.train.x, "y_train": tiny.train.y, "x_test": tiny.test.x, "y_test": tiny.test.y}
    np.savez(tmp_path / "small.npz", **{k: v.numpy() for k, v in part.items()})
    made = Place(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="session")
def bright(tmp_path_factory) -> Path:
    """An .npz file of three classes of 1x8x8 images, a bright third each: 48 to train, 24 to test."""
    rng = np.random.default_rng(1)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(n) % 3
        x = 0.4 * rng.random((n, 1, 8, 8))
        for k in range(3):
            x[y == k, :, :, 2 * k : 2 * k + 3] += 0.5
        return x.astype(np.float32), y

    (x_train, y_train), (x_test, y_test) = part(48), part(24)
    path = tmp_path_factory.mktemp("data") / "bright.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


# What is gathered from a study, and verified: run once.

GATHERED = """
title = "Small"
note = "n"
claims = true
images = { few = 9 }
[datasets.d]
source = "BRIGHT"
[datasets.e]
source = "BRIGHT"
[networks]
linear = { epochs = 2, batch_size = 16, lr = 3e-2 }
qvc2 = { epochs = 1, batch_size = 16 }
[attacks]
pgd = { steps = 2 }
weak = { attack = "fgsm" }
[sections.crossed]
kind = "transfer"
item = "Fig 1"
title = "Crossed"
note = "why"
datasets = ["d"]
sources = ["linear", "qvc2"]
targets = ["linear", "qvc2"]
attacks = ["pgd", "weak"]
eps = [0.0, 0.1]
images = "few"
[sections.clean]
kind = "clean"
title = "Clean"
networks = ["linear", "qvc2"]
paper = [{ dataset = "d", network = "linear", value = 0.9, n = 250 }, { network = "linear", quantity = "parameters", value = "about 200" }]
[sections.curves]
kind = "training"
title = "Curves"
datasets = ["d"]
networks = ["linear", "qvc2"]
[sections.table]
kind = "resources"
title = "Table"
networks = ["linear", "qvc2"]
datasets = ["d"]
[sections.looks]
kind = "perturbations"
title = "Looks"
datasets = ["d"]
sources = ["linear", "qvc2"]
attacks = ["weak"]
eps = 0.1
images = "few"
shown = 2
[sections.unmoved]
kind = "perturbations"
title = "Unmoved"
datasets = ["d"]
sources = ["linear"]
attacks = ["weak"]
eps = 0.0
images = "few"
[sections.chances]
kind = "probabilities"
title = "Chances"
datasets = ["d"]
networks = ["linear", "qvc2"]
attack = "pgd"
eps = [0.0, 0.1, 0.2]
images = "few"
[sections.later]
kind = "missing"
title = "Later"
reason = "not built yet"
[sections.elsewhere]
kind = "clean"
title = "Elsewhere"
datasets = ["e"]
networks = ["linear"]
"""


@pytest.fixture(scope="session")
def do(bright):
    study = spec.parse(GATHERED.replace("BRIGHT", str(bright)))

    def done(out):
        request = run.Request("small", study, None, ["d"], "qarmor run small")
        return run.run(request, out, run.Engine("inline"), lambda state, store: contextlib.nullcontext())

    return done


@pytest.fixture(scope="session")
def calm(tmp_path_factory, do):
    """The folder of the study, run once on one of its two data sets."""
    out = tmp_path_factory.mktemp("calm") / "out"
    state = do(out)
    assert (state.failed, state.done) == ({}, state.total)
    return out


@pytest.fixture
def copy(calm, tmp_path):
    """The study's folder, to be damaged."""
    return folder.read(shutil.copytree(calm, tmp_path / "out"))


def key_of(opened, kind, *words):
    """The key of the only task of a kind with these words in its label."""
    (key,) = [key for key, task in opened.plans[0].tasks.items() if task.kind == kind and all(word in task.label for word in words)]
    return key


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module of the user's own, under a name that no other test has; returns the name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"own_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.glob('*.py')))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write
