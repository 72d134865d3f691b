"""Networks trained under several seeds: planned, gathered, judged and shown."""

import json
import re
from pathlib import Path

import pytest

from qarmor.evaluation.repeats import over_seeds
from qarmor.studies import presets, spec
from qarmor.types import Rows

STUDY = """
title = "Again and again"
claims = true
eps = {{ grid = [0.1, 0.2] }}
[datasets.bright]
source = "{source}"
[networks.convnet]
network = "linear"
epochs = 2
batch_size = 8
[networks.resnet18]
network = "linear"
batch_size = 8
epochs = 1
[attacks.pgd]
steps = 3
[sections.clean]
kind = "clean"
title = "Clean"
networks = ["convnet", "resnet18"]
[sections.again]
kind = "repeats"
title = "Again"
sources = ["convnet"]
targets = ["convnet", "resnet18"]
attacks = ["pgd"]
eps = "grid"
images = 12
seeds = [0, 3, 4]
[presets.smoke]
repeats = [0, 3]
"""


def run(arguments: list[str], status: int = 0) -> None:
    from qarmor.cli import run as command

    assert command(arguments) == status


@pytest.fixture(scope="module")
def made(bright, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("repeats")
    (place / "study.toml").write_text(STUDY.format(source=bright))
    run(["run", str(place / "study.toml"), "--out", str(place / "out"), "--engine", "inline"])
    return place / "out"


@pytest.fixture
def entries(made) -> list[dict]:
    (section,) = [s for s in json.loads((made / "results.json").read_text())["sections"] if s["name"] == "again"]
    assert section["status"] == "complete"
    return section["entries"]


def test_every_seed_of_every_number(entries, made) -> None:
    rows = Rows.from_json((made / "rows.json").read_text())
    assert {(e["source"], e["target"], e["attack"], e["eps"]) for e in entries} == {
        *(("", target, "", 0.0) for target in ("convnet", "resnet18")),
        *(("convnet", target, "pgd", eps) for target in ("convnet", "resnet18") for eps in (0.1, 0.2)),
    }
    for entry in entries:
        assert entry["seeds"] == [0, 3, 4]
        assert entry["n"] == (12 if entry["source"] else 24)
        mine = []
        for end in ("", " (seed 3)", " (seed 4)"):
            source = entry["source"] and entry["source"] + end
            (row,) = rows.where(source=source, target=entry["target"] + end, eps=entry["eps"], metric="accuracy", n=entry["n"])
            mine.append(row)
        assert entry["values"] == [row.value for row in mine]
        bounds = ([row.low for row in mine], [row.high for row in mine])
        mean, low, high = over_seeds(entry["values"], *bounds)
        assert (entry["mean"], entry["low"], entry["high"]) == (mean, max(low, 0), min(high, 1))


def test_claims_are_over_seeds(made) -> None:
    verdicts = json.loads((made / "claims.json").read_text())
    (verdict,) = [v for v in verdicts if v["id"] == "2" and v["variant"] == "tuned"]
    (condition,) = verdict["conditions"]
    assert condition["seeds"] == [0, 3, 4]
    assert condition["n"] == [12, 24]
    assert verdict["note"] == ""


def test_the_page_has_them(made, entries) -> None:
    page = (made / "index.html").read_text()
    assert "seeds 0, 3, 4" in page
    (attacked,) = [e for e in entries if (e["target"], e["eps"]) == ("resnet18", 0.2)]
    strips = re.findall(r'<svg class="strip"[^>]*aria-label="by seed: ([^"]*)"', page)
    assert ", ".join(f"{value:.3f}" for value in attacked["values"]) in strips
    assert "3 seeds" in page
    run(["verify", str(made)])


def test_presets_choose_the_seeds(bright, tmp_path) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(source=bright))
    study = presets.resolve(spec.read(str(tmp_path / "study.toml")), "smoke")
    assert study.sections["again"].seeds == [0, 3]
    assert study.seeds == [0]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = [0, 3, 4]", "seeds = [0, 3, 3]", "sections.again.seeds: has a seed twice, got [0, 3, 3]"),
        ("seeds = [0, 3, 4]", "seeds = [0]", "sections.again.seeds: list should have at least 2 items"),
        ("seeds = [0, 3, 4]", 'seeds = [0, 3]\nclean = "some"', "sections.again.clean: there is no number of images 'some'; there are none"),
        ("repeats = [0, 3]", "repeats = [1]", "presets.smoke.repeats: needs two seeds or more, got [1]"),
        ("repeats = [0, 3]", "seeds = []", "presets.smoke.seeds: needs one seed or more, got []"),
    ],
)
def test_wrong_seeds(tmp_path, before, after, message) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(source="digits").replace(before, after))
    with pytest.raises(spec.SpecError, match=re.escape(message)):
        spec.read(str(tmp_path / "study.toml"))
