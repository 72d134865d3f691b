"""The page as text: complete, self-contained, escaped, the same every time."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from qarmor import report
from qarmor.report.tables import DASH
from qarmor.types import Rows


class Page(HTMLParser):
    """Elements by tag, ids, and the cells of tables by the table's id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.text, self.rows, self._skip, self._in_cell = [], [], [], None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._skip = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._in_cell = True

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag == self._skip:
            self._skip = None
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._skip is None:
            self.text.append(data)
            if self._in_cell:
                self.rows[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "index.html").read_text())


@pytest.fixture(scope="module")
def source(written):
    return (written / "index.html").read_text()


def test_write_returns_the_page(small, written):
    assert report.write(small) == small / "index.html"
    assert (written / "index.html").stat().st_size < 5e6


def test_figures_are_files_without_dates(written):
    names = sorted(path.name for path in (written / "figures").iterdir())
    assert names == ["accuracy-fgsm-loss-ce.svg", "accuracy-pgd-loss-ce.svg", "accuracy-pgd-loss-margin.svg", "probabilities.svg", "training.svg"]
    for name in names:
        text = (written / "figures" / name).read_text()
        assert "dc:date" not in text
        assert "<script" not in text


def test_self_contained(page):
    for _, attrs in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert re.match(r"data:|#", attrs.get(name) or "#"), attrs
    assert not [attrs for attrs in page.all("link") if attrs["rel"] == "stylesheet"]


def test_only_our_script(page, source):
    assert page.all("script") == [{}]
    assert source.count("<script") == 1
    assert "alert" not in re.search(r"<script>(.*?)</script>", source, re.S)[1]


def test_names_are_escaped_and_shown(page, source, evil_name):
    text = "".join(page.text)
    assert evil_name in text
    assert "<script>alert('one')</script>" in text
    assert "Robustness of <b>digits</b>" in text
    assert not page.all("b") or all(not attrs for attrs in page.all("b"))
    assert "alert(1)</script>" not in source
    assert "mathdefault" not in source


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.elements:
        wanted = [attrs["href"][1:]] if attrs.get("href", "").startswith("#") else []
        wanted += [attrs[name] for name in ("aria-labelledby", "aria-controls") if name in attrs]
        wanted += re.findall(r"url\(#([^)]*)\)", attrs.get("clip-path", ""))
        assert set(wanted) <= set(ids), (tag, attrs)


def test_every_image_and_figure_has_words(page):
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert len(page.all("img")) == 1 + 4 * 2 * 3
    plots = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert plots
    assert all(attrs["aria-labelledby"] for attrs in plots)


def test_every_row_is_listed_with_its_numbers(page, written):
    rows = Rows.from_json((written / "rows.json").read_text())
    listed = [line for line in page.rows if len(line) == 14 and line[0] == "digits/test"]
    assert len(listed) == len(rows)
    for row, line in zip(rows, listed, strict=True):
        value = DASH if row.n == 0 else f"{row.value:.4f}"
        assert line[1:3] == [row.source or DASH, row.target]
        assert line[4:9] == [str(row.eps), row.metric, value, f"{row.low:.4f}", f"{row.high:.4f}"]
        assert line[9:11] == [str(row.successes), str(row.n)]
        assert line[12] == str(row.seed)
        assert line[13] == ", ".join(row.flags)


def test_transfer_tables_hold_value_interval_counts_and_flags(page, written, evil_name):
    rows = Rows.from_json((written / "rows.json").read_text()).where(source="convnet", target="convnet", eps=0.1, attack="pgd")
    accuracy = next(row for row in rows if row.metric == "accuracy")
    fooling = next(row for row in rows if row.metric == "fooling_rate")
    cells = [line[2] for line in page.rows if line and line[0] == "convnet" and len(line) == 5]
    found = next(cell for cell in cells if f"{accuracy.value:.3f}" in cell)
    assert f"[{accuracy.low:.3f}, {accuracy.high:.3f}]{accuracy.successes} of {accuracy.n}" in found
    assert f"fooled {fooling.value:.3f}({fooling.successes} of {fooling.n})" in found
    assert "flags F3 F7" in found


def test_one_transfer_table_is_shown_without_script(page):
    panels = [attrs for attrs in page.all("div") if "data-panel" in attrs]
    assert len(panels) == 3 * 3
    assert [(attrs["data-attack"], attrs["data-eps"]) for attrs in panels if "hidden" not in attrs] == [("pgd-loss-margin", "0.1")]


def test_downloads_hold_the_rows(page, written):
    rows = Rows.from_json((written / "rows.json").read_text())
    links = {attrs["download"]: base64.b64decode(attrs["href"].partition("base64,")[2]).decode() for attrs in page.all("a") if "download" in attrs}
    assert Rows.from_json(links["rows.json"]).to_json() == rows.to_json()
    lines = list(csv.DictReader(io.StringIO(links["rows.csv"])))
    assert [line["target"] for line in lines] == [row.target for row in rows]
    assert [json.loads(line["parameters"]) for line in lines] == [row.parameters for row in rows]
    assert [float(line["low"]) for line in lines] == [row.low for row in rows]


def test_flags_are_explained(page):
    text = "".join(page.text)
    assert "the white-box accuracy overstates its robustness" in text
    assert "This report has no explanation of this flag." in text


def test_provenance_is_shown(page):
    text = "".join(page.text)
    for wanted in (
        "qarmor demo --seed 0 && echo '<done>'",
        "1 min 14 s",
        "2026-01-02T03:04:05Z",
        "a laptop, 2 cores",
        "ab" * 32,
        "torch 2.13.0",
        "numba, AVX2",
    ):
        assert wanted in text


def test_two_writes_are_equal(results, written):
    report.write(results)
    assert (results / "index.html").read_bytes() == (written / "index.html").read_bytes()
    for path in (written / "figures").iterdir():
        assert (results / "figures" / path.name).read_bytes() == path.read_bytes()


def test_missing_parts_are_named(small):
    for path in small.iterdir():
        if path.name not in ("rows.json", "provenance.json"):
            path.unlink()
    text = "".join(Page(report.write(small).read_text()).text)
    for what, file in (
        ("training curves", "history.json"),
        ("class probabilities of one image", "probabilities.json"),
        ("gallery of perturbations", "gallery.json"),
    ):
        assert f"{what} ({file})" in text
        assert f"Missing: {what}. The results hold no {file}, or an empty one." in text


def test_empty_parts_are_named(small):
    for name in ("history.json", "probabilities.json", "gallery.json"):
        value = json.loads((small / name).read_text())
        (small / name).write_text(json.dumps({} if name == "history.json" else value | {"networks": {}}))
    assert "".join(Page(report.write(small).read_text()).text).count(", or an empty one.") == 3


def test_missing_image_is_named(small):
    (small / "probabilities.npz").unlink()
    assert "Missing: the image itself (probabilities.npz)" in "".join(Page(report.write(small).read_text()).text)


def test_bare_provenance_is_said_to_be_bare(small, evil_name):
    (small / "provenance.json").write_text(json.dumps({"title": "Bare", "networks": {}}))
    text = "".join(Page(report.write(small).read_text()).text)
    assert text.count("not recorded") >= 8
    assert f"provenance.json does not describe {evil_name}, convnet" in text


def test_clean_rows_alone(small):
    rows = Rows.from_json((small / "rows.json").read_text()).where(source="")
    (small / "rows.json").write_text(rows.to_json())
    text = "".join(Page(report.write(small).read_text()).text)
    assert "the rows hold no attacked images of digits/test" in text
    assert "nothing can be said about robustness" in text


def test_two_data_sets_stand_apart(small):
    rows = json.loads((small / "rows.json").read_text())
    (small / "rows.json").write_text(json.dumps(rows + [row | {"dataset": "mnist/test"} for row in rows]))
    page = Page(report.write(small).read_text())
    assert {attrs["data-panel"] for attrs in page.all("div") if "data-panel" in attrs} == {"0", "1"}
    assert (small / "figures" / "accuracy-pgd-loss-ce-mnist-test-1.svg").exists()


def test_a_long_list_says_that_it_is_cut(small, monkeypatch):
    monkeypatch.setattr("qarmor.report.tables.MAX_ROWS", 7)
    page = Page(report.write(small).read_text())
    assert "Only the first 7 are listed below." in "".join(page.text)
    assert len([line for line in page.rows if len(line) == 14]) == 8
