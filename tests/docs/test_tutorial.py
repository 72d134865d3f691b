"""Whoever types in the tutorial, or an example of how to extend QArmor, gets what the page says."""

import csv
import re
from pathlib import Path

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", ["tutorial.md", "index.md", "extend/network.md", "extend/attack.md", "extend/dataset.md"])
def test_the_page_does_what_it_says(page: str, folder: Path) -> None:
    assert pages.run(page, folder)
    if page == "tutorial.md":
        assert (folder / "mine" / "index.html").is_file()
        with (folder / "mine.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
        # two networks clean, and two judged under attacks on each of the two at each of two radii
        assert len(rows) >= 2 + 2 * 2 * 2
        assert {row["target"] for row in rows} == {"qvc20", "linear"}


def test_a_difference_is_seen() -> None:
    assert not pages.differences("a 0.50 of 3", "a   0.57 of 3\n")
    assert "says 0.50" in pages.differences("a 0.50 of 3", "a 0.63 of 3")
    assert "says 3" in pages.differences("a 0.50 of 3", "a 0.50 of 4")
    assert "the page says" in pages.differences("a 0.50", "b 0.50")
    assert "the page says" in pages.differences("a 0.50", "")


def test_a_failing_block_is_named_by_its_line(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path_factory.mktemp("docs")
    monkeypatch.setattr(pages, "DOCS", docs)
    (docs / "wrong.md").write_text("# A page\n\n```python\nprint('0.5')\n```\n\n```text\n0.9\n```\n")
    with pytest.raises(AssertionError, match=r"docs/wrong\.md, line 8: the page says 0\.9, it printed 0\.5"):
        pages.run("wrong.md", folder)
    (docs / "wrong.md").write_text("```sh\nfalse\necho on\n```\n")
    with pytest.raises(AssertionError, match=r"docs/wrong\.md, line 2: exit status 1"):
        pages.run("wrong.md", folder)


def test_conclusions_stand_on_the_results() -> None:
    """Every rate with an interval in tables of conclude.md is a row of the results that it names."""
    with (pages.DOCS / "results/west2023-quick/rows-mnist.csv").open() as file:
        known = [tuple(float(row[key]) for key in ("value", "low", "high")) for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    text = (pages.DOCS / "conclude.md").read_text()
    quoted = [tuple(map(float, found)) for found in re.findall(r"(\.\d{3}) \[(\.\d{3}), (\.\d{3})\]", text)]
    assert len(quoted) >= 15
    for rate in quoted:
        assert any(max(abs(a - b) for a, b in zip(rate, row, strict=True)) < 6e-4 for row in known), f"{rate} is not in rows-mnist.csv"
