"""The page as text: complete, self-contained, escaped, the same every time."""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from qarmor import report
from qarmor.report.tables import DASH, FLAGS
from qarmor.types import Rows

from_here = re.compile(r"data:|#|figures/[a-z0-9_-]+\.svg$|(rows\.csv|rows\.json|results\.json|claims\.json)$")

BEATEN = f"F{1 + list(FLAGS).index('transfer-beats-white-box')}"


class Page(HTMLParser):
    """Elements, text, and the cells of tables by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.words, self.rows, self._skip, self._open = [], [], [], None, []
        self.feed(text)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._skip = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._open.append(self.rows[-1])
            self.rows[-1].append("")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag == self._skip:
            self._skip = None
        if tag in ("td", "th"):
            self._open.pop()

    def handle_data(self, data):
        if self._skip is None:
            self.words.append(data)
            if self._open:
                self._open[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "index.html").read_text())


@pytest.fixture(scope="module")
def source(written):
    return (written / "index.html").read_text()


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _written(folder):
    return Page(report.write(folder).read_text())


def _between(page, start, end):
    assert start in page.text
    assert end in page.text
    return page.text.partition(start)[2].partition(end)[0]


def test_write_returns_the_page(small, written):
    assert report.write(small) == small / "index.html"
    assert (written / "index.html").stat().st_size < 5e6


def test_figures_are_files_without_dates(written):
    names = sorted(path.name for path in (written / "figures").iterdir())
    evil = "digits-script-alert-2-script"
    curves = [f"fig2_{dataset}_{attack}.svg" for dataset in ("cifar2", evil) for attack in ("pgd-ce", "pgd-margin")]
    hardware = [f"{stem}.svg" for stem in (f"figs14_{evil}_layer", f"figs14_{evil}_end", f"shots_{evil}", f"certificates_{evil}", f"fig5_{evil}")]
    direct = [curve.replace("fig2", "direct") for curve in curves]
    both = [f"{figure}_{dataset}.svg" for figure in ("figs2", "figs3", "frontier") for dataset in ("cifar2", evil)]
    assert names == sorted(["fig1_1.svg", *curves, *direct, *hardware, *both])
    for name in names:
        text = (written / "figures" / name).read_text()
        assert "dc:date" not in text
        assert "<script" not in text


def test_self_contained_but_for_files_beside_it(page, written):
    for tag, attrs in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert from_here.match(attrs.get(name) or "#"), attrs
        if tag == "a" and not attrs["href"].startswith("#"):
            assert (written / attrs["href"]).is_file()
    assert not [attrs for attrs in page.all("link") if attrs["rel"] == "stylesheet"]


def test_only_our_script(page, source):
    assert page.all("script") == [{}]
    assert source.count("<script") == 1
    assert "alert" not in re.search(r"<script>(.*?)</script>", source, re.S)[1]


def test_names_are_escaped_and_shown(page, source, evil_name):
    for name in (
        evil_name,
        "<script>alert('one')</script>",
        "Robustness of <b>digits</b>",
        "digits<script>alert(2)</script>.gz",
        "fig3<script>alert(3)</script>",
        "Fig <3>",
        "the <paper>'s own",
        "4,000 RZ, 1,800 <CZ>",
        "train <i>resnet</i>: RuntimeError: out of <memory>",
        "needs accuracy under <b>autoattack</b>: not measured",
        "We chose <b>250</b> images.",
        "adversarial training comes with <part> 4",
        "at least .2 above <script>ResNet18</script>",
        "<script>kraus",
        "detected <all>",
    ):
        assert name in page.text, name
    assert not page.all("i") or all(not attrs for attrs in page.all("i"))
    assert not re.search(r"alert\(\d\)</script>", source)
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
    assert len(page.all("img")) == 1 + 2 * 4 * 2 * 3
    plots = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert plots
    assert all(attrs.get("aria-labelledby") or attrs["aria-label"] for attrs in plots)


def test_parts_come_in_the_promised_order(page):
    heads = [attrs["id"] for attrs in page.all("h2")]
    sections = ["fig2", "figs3", "figs2", "table1", "fig3-script-alert-3-script", "fig1", "fig4", "figs12"]
    sections += ["figs14", "seeds", "shots", "certificates", "fig5", "frontier", "direct"]
    assert heads == ["claims", "networks", *sections, "flags", "again"]
    links = [attrs["href"][1:] for attrs in page.all("a") if attrs["href"].startswith("#") and not attrs["href"].startswith("#flag-")]
    assert links == ["main", *heads]


def test_what_was_run_is_told(page):
    for wanted in (
        "made-up, preset quick",
        "qarmor run made-up --preset quick && echo '<done>'",
        "22 of 24 done, 1 failed",
        "58 min 32 s, 1 thread each",
        "a laptop, 2 cores",
        "qarmor 0.1.0, torch 2.13.0",
        "ab" * 32,
        "PGD (margin) (pgd-margin)",
        "loss margin, steps 40",
    ):
        assert wanted in page.text, wanted


def test_claims_stand_side_by_side(page):
    line = next(line for line in page.rows if line and line[0].startswith("1 white box"))
    assert len(line) == 2, "the data set without a measured claim is left out"
    assert " ".join(line[1].split()) == "tuned ✓ holds paper ✓ holds linear ✓ holds quadratic ✓ holds"
    line = next(line for line in page.rows if line and line[0].startswith("4 defence"))
    assert " ".join(line[1].split()) == "tuned ✗ fails paper ✗ fails linear ? undecided quadratic ? undecided"
    assert "Left out of the table, since no claim was measured there: cifar2." in page.text
    idle = next(line for line in page.rows if line and line[0].startswith("8.1"))
    assert " ".join(idle[1].split()) == f"{DASH} not measured needs accuracy under <b>autoattack</b>: not measured"


def test_claims_have_their_numbers(page):
    found = [line[1:] for line in page.rows if len(line) == 7 and "accuracy(convnet -> quadratic, pgd, 0.2)" in line[2]]
    assert [line[2:] for line in found] == [["0.310", "[0.250, 0.370]", "120", "✓ holds"], ["0.210", "[0.150, 0.270]", "120", "? undecided"]]


def test_networks_stand_beside_the_majority_class(page):
    found = [line for line in page.rows if len(line) == 10 and line[0] == "convnet"]
    assert len(found) == 2
    assert found[0][2:5] == ["0.985[0.975, 0.991]n 1,000", "0.100", "3,600"]
    assert found[0][6:] == ["tuned: Adam 0.005, cosine, batch 64", "5", "1,437", "98.4"]


def test_transfer_tables_hold_value_interval_counts_and_flags(page, written):
    rows = Rows.from_json((written / "rows.json").read_text()).where(source="convnet", target="convnet", eps=0.1, dataset="cifar2/test")
    accuracies, foolings = rows.where(metric="accuracy"), rows.where(metric="fooling_rate")
    cells = [line[2] for line in page.rows if line and line[0] == "convnet" and len(line) == 5 and "fooled" in line[2]]
    assert len(cells) == 2 * 2 * 3
    for accuracy, fooling in zip(accuracies, foolings, strict=True):
        found = next(cell for cell in cells if f"{accuracy.value:.3f}" in cell)
        assert f"[{accuracy.low:.3f}, {accuracy.high:.3f}]{accuracy.successes} of {accuracy.n}" in found
        assert f"fooled {fooling.value:.3f}({fooling.successes} of {fooling.n})" in found
        assert f"flags {BEATEN} F{len(FLAGS) + 1}" in found


def test_a_table_for_every_attack_and_eps(page):
    regions = [attrs["aria-label"] for attrs in page.all("div") if attrs.get("aria-label", "").startswith("Transfer table, cifar2")]
    assert regions == [f"Transfer table, cifar2, {attack}, eps {eps}" for attack in ("PGD (ce)", "PGD (margin)") for eps in (0.05, 0.1, 0.3)]


def test_the_papers_numbers_stand_beside_ours(page, evil_name):
    lines = [line for line in page.rows if len(line) == 4 and line[0] == evil_name]
    assert lines[0] == [evil_name, "0.832[0.781, 0.873], n 250", "0.919[0.887, 0.943], n 360", "0.100"]
    assert ["the <paper>'s own", "0.832[0.781, 0.873], n 250", "not measured", "0.100"] in page.rows
    assert [evil_name, "0.919[0.887, 0.943], n 360", "0.100"] in page.rows, "the paper's numbers of another data set stay there"
    assert next(line for line in page.rows if line[1:2] == ["convnet"] and len(line) == 7)[4] == "1,234,567paper: about 10^6"
    assert next(line for line in page.rows if line[1:2] == ["qvc<9>"])[2] == f"{DASH}paper: 12"


def test_low_frequency_shares_have_intervals(page):
    assert ["_linear", "0.410 [0.390, 0.430] (n 120)"] in page.rows


def test_missing_and_partial_sections_say_why(page):
    assert "Missing: adversarial training comes with <part> 4." in page.text
    assert "Missing: not run." in page.text
    assert "Partial: the tasks that finished are shown." in page.text
    badges = [attrs["class"] for attrs in page.all("span") if attrs.get("class", "").startswith("badge")]
    assert badges.count("badge missing") == 4, "in the contents and at the section"


def test_flags_are_explained_and_placed(page):
    assert "the white-box accuracy overstates its robustness" in page.text
    assert "This report has no explanation of this flag." in page.text
    assert [f"{BEATEN} transfer-beats-white-box", "cifar2", "convnet → convnet", "PGD (ce)", "0.1"] in page.rows


def test_csv_holds_the_rows(written):
    rows = Rows.from_json((written / "rows.json").read_text())
    with (written / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["target"] for line in lines] == [row.target for row in rows]
    assert [json.loads(line["parameters"]) for line in lines] == [row.parameters for row in rows]
    assert [float(line["low"]) for line in lines] == [row.low for row in rows]


def test_two_writes_are_equal(results, written):
    report.write(results)
    for path in [written / "index.html", written / "rows.csv", *(written / "figures").iterdir()]:
        assert (results / path.relative_to(written)).read_bytes() == path.read_bytes()


def test_without_claims_sentences_come_first(small, evil_name):
    page = _written(small)
    assert not [attrs for attrs in page.all("h2") if attrs["id"] == "claims"]
    assert "2 networks, trained on 1437 images of digits<script>alert(2)</script>, were attacked on 120 images" in page.text
    assert "No classical control (linear, quadratic) was measured" in page.text
    (small / "claims.json").write_text("[]")
    assert _written(small).text == page.text


def test_a_study_that_has_not_begun(small):
    def empty(value):
        value.update(networks=[], attacks={}, datasets={}, tasks=None)
        value["sections"] = [dict(one, status="missing", reason="not run") for one in value["sections"]]

    _change(small / "results.json", empty)
    (small / "rows.json").write_text("[]")
    page = _written(small)
    assert "Missing: rows.json holds no rows yet" in page.text
    assert "Missing: the results describe no networks." in page.text
    assert page.text.count("Missing: not run.") == 8
    assert "No flag fired on any of the 0 rows" in page.text


def test_partial_sections_name_what_they_lack(small):
    def cut(value):
        for one in value["sections"]:
            if one["status"] != "missing":
                one.update(status="partial", entries=[], keys=["not-there"], networks=["ghost"], datasets=["cifar2"])

    _change(small / "results.json", cut)
    page = _written(small)
    for wanted in (
        "Missing: nothing finished yet for cifar2.",
        "rows.json holds no rows of 1 of this section's tasks",
        "Missing: nothing finished yet for ghost.",
        "Missing: no perturbation finished yet.",
        "Missing: no image finished yet.",
    ):
        assert wanted in page.text, wanted


def test_vectors_have_no_pictures(small):
    import numpy as np

    entry = next(one for one in json.loads((small / "results.json").read_text())["sections"] if one["kind"] == "perturbations")["entries"][0]
    np.savez(small / entry["arrays"], **{name: np.zeros((2, 5)) for name in ("clean", "adversarial", "perturbation")})
    assert "Missing: no pictures of this one." in _written(small).text
    _change(small / "results.json", lambda v: [e.update(arrays=None) for s in v["sections"] for e in s.get("entries", ())])
    page = _written(small)
    assert "No pictures: the results hold none, or these data are no images." in page.text
    assert not page.all("img")


def test_without_the_papers_numbers_there_is_no_column_for_them(small):
    _change(small / "results.json", lambda v: [section.update(paper=[]) for section in v["sections"]])
    page = _written(small)
    assert "the paper" not in _between(page, "Fig S3 Clean", "Fig S2 The training")
    assert ["convnet", "0.986[0.968, 0.994], n 360", "0.100"] in page.rows


def test_failures_are_listed(small):
    _change(small / "results.json", lambda v: v["tasks"].update(failed=[{"label": f"task {i}", "log": "no"} for i in range(9)]))
    assert "Failed tasks: 9." in _written(small).text


def test_sections_of_one_name_stand_apart(small):
    _change(small / "results.json", lambda v: [section.update(name="claims") for section in v["sections"]])
    ids = [attrs["id"] for attrs in _written(small).all("h2")]
    assert ids == ["networks", *(f"claims-{i}" for i in range(2, 10)), "flags", "again"]


def test_several_seeds_stand_apart(small):
    def again(rows):
        def other(name):
            return f"{name} (seed 1)" if name else ""

        rows += [{**row, "source": other(row["source"]), "target": other(row["target"]), "seed": row["seed"] + 1} for row in rows]

    _change(small / "rows.json", again)
    _change(small / "results.json", lambda v: v["networks"].extend([one | {"seed": 1, "name": f"{one['name']} (seed 1)"} for one in v["networks"]]))
    page = _written(small)
    heads = [attrs["id"] for attrs in page.all("h3") if "id" in attrs]
    assert heads == ["fig2_digits-script-alert-2-script-seed-3", "fig2_digits-script-alert-2-script-seed-4"]
    assert "A further seed: its curves are in figures/fig2_digits-script-alert-2-script-seed-4_pgd-ce.svg" in page.text
    regions = [attrs["aria-label"] for attrs in page.all("div") if attrs.get("aria-label", "").startswith("Transfer table")]
    assert len(regions) == 2 * 3
    assert "not measured" not in _between(page, "Fig 2, S5 Accuracy", "Fig S3 Clean")
    assert "convnet (seed 1)" in _between(page, "Fig S2 The training", "Table I The")


def test_networks_of_one_name_are_told_apart_by_seed(small):
    _change(small / "results.json", lambda v: v["networks"].extend([one | {"seed": 1} for one in v["networks"]]))
    assert "convnet, seed 1" in _written(small).text
