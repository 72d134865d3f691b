"""The demonstration, small: every file of the page is there, and the page holds its numbers."""

import json

import pytest

from qarmor.studies import demo
from qarmor.training import Recipe
from qarmor.types import Rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    small = {name: Recipe(epochs=1, batch_size=64, lr=5e-3) for name in ("qvc10", "linear")}
    patch.setattr(demo, "NETWORKS", small)
    patch.setattr(demo, "QUANTUM", ("qvc10",))
    patch.setattr(demo, "IMAGES", 60)
    patch.setattr(demo, "EPS", (0.0, 0.1))
    path = tmp_path_factory.mktemp("demo") / "out"
    said = []
    page = demo.run(path, seed=3, say=lambda text, fraction: said.append(fraction))
    patch.undo()
    assert page == path / "index.html"
    assert said == sorted(said)
    return path


def test_rows_are_complete(folder):
    rows = Rows.from_json((folder / "rows.json").read_text())
    assert len(rows.where(source="", metric="accuracy")) == 2
    for source in ("qvc10", "linear"):
        for target in ("qvc10", "linear"):
            for eps in (0.0, 0.1):
                assert len(rows.where(source=source, target=target, eps=eps, metric="accuracy")) == 3
    clean = rows.where(source="", target="qvc10")[0]
    at_zero = rows.where(source="linear", target="qvc10", eps=0.0, metric="accuracy")
    assert all(row.value == clean.value for row in at_zero)
    assert {row.seed for row in rows if row.attack} == {3}


def test_page_and_files(folder):
    names = {p.name for p in folder.iterdir()}
    assert {"index.html", "rows.json", "provenance.json", "history.json", "gallery.npz", "probabilities.json", "networks", "figures"} <= names
    page = (folder / "index.html").read_text()
    provenance = json.loads((folder / "provenance.json").read_text())
    for name, about in provenance["networks"].items():
        assert name in page
        assert about["sha256"] in page
    assert "is missing" not in page


def test_same_seed_same_rows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "NETWORKS", {name: Recipe(epochs=1, batch_size=64, lr=5e-3) for name in ("qvc10", "linear")})
    monkeypatch.setattr(demo, "IMAGES", 60)
    monkeypatch.setattr(demo, "EPS", (0.0, 0.1))
    demo.run(tmp_path, seed=3)
    assert (tmp_path / "rows.json").read_text() == (folder / "rows.json").read_text()
