"""Sections about noise, shots, certificates and detection: read strictly, shown completely."""

import json
import re

import pytest

from qarmor import report
from qarmor.report import curves, figures
from qarmor.report.hardware import Rate, Shots
from qarmor.report.hardware_views import shots_in_words
from qarmor.report.inputs import load_directory
from qarmor.report.tables import DASH, limits
from qarmor.types import Rows
from tests.report.test_page import Page


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _section(value, kind):
    return next(section for section in value["sections"] if section["kind"] == kind)


def _entry(value, kind, number=0):
    return _section(value, kind)["entries"][number]


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def _page(folder):
    return Page(report.write(folder).read_text())


def _said(rate):
    """A share as a table says it."""
    return f"{rate['value']:.3f}{limits(rate['low'], rate['high'])}, n {rate['n']}"


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "index.html").read_text())


def test_noise_tables_hold_every_setting(page, written, evil_name):
    entries = _section(_results(written), "noise")["entries"]
    lines = [line for line in page.rows if len(line) == 8 and line[0] == evil_name and line[1] in ("none", "bit-flip", "<script>kraus")]
    assert len(lines) == len(entries) == 1 + 2 * 2 * 4
    for line, entry in zip(lines, entries, strict=True):
        noise = entry["noise"] or {"kind": "none"}
        assert line[1] == noise["kind"]
        assert line[4] == _said(entry["clean"])
        assert line[5:7] == [_said(rate) for rate in entry["attacked"]]
        assert line[2:4] == ([f"{noise['rate']:g}", noise["where"]] if entry["noise"] else [DASH, DASH])
        needed = entry["shots"]["needed"]
        assert line[7].startswith("more than 2^32 tried" if needed is None else f"{needed:,}")
        assert ("says nothing" in line[7]) == (entry["shots"]["wanted"] <= entry["shots"]["majority"])


def test_the_noise_figure_says_its_numbers(page, written):
    entries = [one for one in _section(_results(written), "noise")["entries"] if one["noise"] is None or one["noise"]["where"] == "layer"]
    for kind in ("bit-flip", "<script>kraus"):
        points = [one for one in entries if one["noise"] and one["noise"]["kind"] == kind]
        assert f"{kind} " + ", ".join(f"{one['clean']['value']:.2f} at {one['noise']['rate']:g}" for one in points) in page.text
    assert f"Without noise: {entries[0]['network']} {entries[0]['clean']['value']:.2f}." in page.text


def test_noise_of_no_strength_stands_in_the_table_alone(hard):
    def still(value):
        for entry in _section(value, "noise")["entries"]:
            if entry["noise"] and entry["noise"]["kind"] == "bit-flip":
                entry["noise"]["rate"] = 0.0 if entry["noise"]["where"] == "end" else None

    _change(hard / "results.json", still)
    page = _page(hard)
    assert [line[2] for line in page.rows if len(line) == 8 and line[1] == "bit-flip"] == [DASH] * 4 + ["0"] * 4
    assert "bit-flip 0" not in page.text


def test_networks_under_noise_are_not_listed_among_the_others(hard):
    def noisy(value):
        labels = [one["label"] for one in _section(value, "noise")["entries"] if one["noise"]]
        value["networks"] += [value["networks"][0] | {"name": label} for label in labels]

    _change(hard / "results.json", noisy)
    label = _entry(_results(hard), "noise", 1)["label"]
    _change(hard / "rows.json", lambda rows: rows.append(rows[0] | {"target": label, "key": "noisy"}))
    found = load_directory(hard)
    assert found.network_names[-1] == label or label in found.network_names[2:]
    assert label in found.noisy
    page = _page(hard)
    assert "16 more are some of these under noise" in page.text
    assert len([line for line in page.rows if len(line) == 10]) == 2 + 1, "the header and two networks"
    lead = page.text.partition("were attacked on")[0]
    assert lead.endswith("2 networks, trained on 1437 images of digits<script>alert(2)</script>, "), "nor in the words on top"


def test_rows_of_detectors_name_no_networks(hard):
    extra = {"metric": "true_positive_rate", "target": "convnet+qvc", "source": "convnet+qvc", "attack": "mixed", "eps": None}
    _change(hard / "rows.json", lambda rows: rows.append(rows[0] | extra))
    assert "convnet+qvc" not in load_directory(hard).network_names
    assert "2 networks, trained on" in _page(hard).text


@pytest.mark.parametrize(
    ("needed", "counts", "words"),
    [
        (4096, [1, 8192], "4,096"),
        (None, [1, 2, 1 << 40], "more than 2^40 tried"),
        (None, [1, 1000], "more than 1,000 tried"),
        (None, [512], "more than 512 tried"),
        (None, [], "none tried"),
    ],
)
def test_shots_in_words(needed, counts, words):
    points = tuple((count, Rate(0.5, 0.4, 0.6, 10)) for count in counts)
    assert shots_in_words(Shots(0.9, 0.855, needed, 0.1, 10, points)) == words


def test_shots_tables(page, written):
    for entry in _section(_results(written), "shots")["entries"]:
        found = entry["shots"]
        needed = "more than 2^32 tried" if found["needed"] is None else f"{found['needed']:,}"
        assert [entry["network"], f"{found['exact']:.3f}", f"{found['wanted']:.3f}", needed, "0.100", "120"] in page.rows
        point = found["points"][3]
        line = next(line for line in page.rows if line[0] == f"{point['shots']:,}" and len(line) == 4)
        assert f"{point['value']:.3f} {limits(point['low'], point['high'])}" in line[1:]


def test_powers_of_ten_are_plain_text(written):
    assert [curves.power(value) for value in (1e-5, 1e-4, 0.001, 0.1, 1, 1000, 1e4, 1e10)] == [
        "10⁻⁵",
        "10⁻⁴",
        "0.001",
        "0.1",
        "1",
        "1000",
        "10⁴",
        "10¹⁰",
    ]
    for path in (written / "figures").glob("*.svg"):
        assert "mathdefault" not in path.read_text()
    text = next((written / "figures").glob("figs14*layer.svg")).read_text()
    assert {">0.001<", ">0.01<", ">0.1<"} <= set(re.findall(r">[\d.]+<", text)), "the drawing's shorter numbers are not those of its texts"


def test_seeds_stand_side_by_side(page, written):
    entries = [e for s in _results(written)["sections"] if s["kind"] == "repeats" for e in s["entries"]]
    for entry in entries:
        label = "by seed: " + ", ".join(f"{value:.3f}" for value in entry["values"])
        assert any(attrs.get("aria-label") == label for attrs in page.all("svg"))
    assert f"clean, {entries[0]['target']}: 0.860 to 0.900; attacked" in page.text
    assert "one seed so far" in page.text


def test_certificates_hold_ratios_and_no_violation(page, written):
    entries = _section(_results(written), "certificates")["entries"]
    for entry in entries:
        line = next(line for line in page.rows if line[0] == entry["network"] and line[-1] == "0, as it must be")
        cells = [f"{one['median']:.3f}{limits(one['low'], one['high'])}n {one['n']}" for one in entry["certificates"]]
        assert line[1:] == ["0.900n 120", "PGD (ce)", *cells, "0, as it must be"]
    curve = entries[0]["curve"]
    wanted = [curve[name][2] for name in ("attacked", "hypothesis_testing", "exact_l2", "linf", "linf_box")]
    assert ["0.01", *(f"{one['value']:.3f} {limits(one['low'], one['high'])}" for one in wanted)] in page.rows
    assert "A certificate is wrong" not in page.text


def test_violations_are_said_loudly(hard):
    _change(hard / "results.json", lambda v: _entry(v, "certificates", 1)["certificates"][3].update(violations=2))
    page = _page(hard)
    assert [attrs for attrs in page.all("div") if attrs.get("role") == "alert" and attrs["class"] == "loud"]
    assert "A certificate is wrong." in page.text
    assert "convnet on digits<script>alert(2)</script>: certificate l_inf within [0, 1] is wrong for 2 images" in page.text
    assert next(line for line in page.rows if line[0] == "convnet" and "✗" in line[-1])[-1] == "✗ 2"


def _corners(svg, gid):
    """Corners of the first path in a group, in points from the top of the drawing."""
    path, after = re.search(rf'id="{gid}">.*? d="([^"]*)"(.*?)</g>', svg, re.S).groups()
    shift = float(found[1]) if gid == "truth" and (found := re.search(r'<use [^>]*y="([\d.]+)"', after)) else 0.0
    return {(round(float(x), 1), round(float(y) + shift, 1)) for x, y in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path)}


def test_the_band_lies_between_certificate_and_attack(hard):
    entry = next(section.body.entries[0] for section in load_directory(hard).sections if section.kind == "certificates")
    looks = figures.styles([curves.ATTACKED, *entry.certified])
    drawn = curves.certificate_sheet([entry], looks, {name: name for name in entry.certified}, "linf_box", "t").svg
    lines = {name: _corners(drawn, f"line-{style.number}") for name, style in looks.items()}
    assert len(lines[curves.ATTACKED]) == len(entry.eps)
    band = _corners(drawn, "truth")
    for corner in lines[curves.ATTACKED] | lines["linf_box"]:
        assert min(abs(corner[0] - x) + abs(corner[1] - y) for x, y in band) < 0.25
    assert len(band) <= 2 * len(entry.eps)


def test_detection_headlines(page, written, evil_name):
    entries = _section(_results(written), "detection")["entries"]

    def cell(entry, metric, source):
        return next(row for row in entry["rows"] if (row["metric"], row["source"], row["by"]) == (metric, source, "all"))

    def said(row):
        n = "" if row["metric"].startswith("auc") else f"n {row['n']}"
        return f"{row['value']:.3f}{limits(row['low'], row['high'])}{n}"

    for entry in entries:
        first, both = entry["first"], f"{entry['first']}+{entry['second']}"
        for prefix, alarm in (("", "they disagree"), ("score_", "score")):
            line = next(line for line in page.rows if line[:2] == [f"{first} and {entry['second']}", alarm])
            wanted = [(f"{prefix}false_positive_rate", ""), (f"{prefix}true_positive_rate", first), (f"{prefix}true_positive_rate_fooled", first)]
            wanted += [("auc", first), (f"{prefix}true_positive_rate", both), (f"{prefix}evasion_rate", both)]
            for got, (metric, source) in zip(line[2:], wanted, strict=True):
                assert got.startswith(DASH if metric == "auc" and not prefix else said(cell(entry, metric, source))), metric
    line = next(line for line in page.rows if line[:2] == [f"convnet and {evil_name}", "they disagree"])
    assert line[2].endswith("paper 0.227227 of 1,000ours \N{MINUS SIGN} paper[-0.070, 0.020]within chance")
    assert line[3].endswith("paper 0.636636 of 1,000ours \N{MINUS SIGN} paper[0.060, 0.160]they differ")
    assert "paper" not in "".join(next(line for line in page.rows if line[:2] == ["convnet and quadratic", "they disagree"]))


def test_detection_breakdowns(page, written):
    entry = _entry(_results(written), "detection")
    bins = [line for line in page.rows if line[:2] == ["attacked by one who knows the detector", "eps 0.09 to 0.16"] and len(line) == 6]
    rows = [
        row for row in entry["rows"] if row["source"].count("+") and row["by"] == "eps" and row["eps_low"] == 0.09 and "score" not in row["metric"]
    ]
    assert bins[0][2:] == [f"{row['value']:.3f}{limits(row['low'], row['high'])}n {row['n']}" for row in rows]
    empty = next(line for line in page.rows if line[:2] == ["attacked on the first network", "eps 0.02 to 0.09"])
    assert empty[5] == "no images"
    assert [line[1] for line in page.rows if line[0] == "attacked on the second network" and len(line) == 6][:7] == [
        "all",
        "PGD (ce)",
        "fgsm",
        "eps 0.02 to 0.09",
        "eps 0.09 to 0.16",
        "eps 0.16 to 0.23",
        "eps 0.23 to 0.3",
    ]


def test_partial_sections_show_what_is_there(hard):
    def cut(value):
        _entry(value, "noise", 3).update(clean=None, attacked=[], shots=None)
        _entry(value, "detection").update(roc=[], rows=[], paper=[])
        _entry(value, "certificates").update(certificates=[], curve={"eps": [], "attacked": []})
        _section(value, "shots")["entries"][0]["shots"].update(points=[], needed=None)

    _change(hard / "results.json", cut)
    page = _page(hard)
    assert "none tried" in page.text
    assert next(line for line in page.rows if len(line) == 8 and line[2] == "0.01")[4:] == ["not measured"] * 4


def test_empty_sections_say_so(hard):
    _change(hard / "results.json", lambda v: [section.update(entries=[], keys=[]) for section in v["sections"]])
    page = _page(hard)
    for words in ("no network under noise", "nothing was measured with shots", "no certificate finished", "no detector finished"):
        assert f"Missing: {words}" in page.text
    assert page.text.count("nothing finished yet for digits") == 2, "frontier and direct attacks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: _entry(v, "noise").update(label=None), r"entries\[0\]\.label should be text that is not empty, got nothing"),
        (lambda v: _entry(v, "noise", 1)["noise"].update(rate=1.5), r"noise\.rate should be between 0 and 1, got 1\.5"),
        (lambda v: _entry(v, "noise", 1)["noise"].update(kind=""), r"noise\.kind should be text that is not empty, got str"),
        (lambda v: _entry(v, "noise")["clean"].update(value="x"), r"clean\.value should be a number, got str"),
        (lambda v: _entry(v, "noise")["clean"].update(value=0.5), r"clean: 0\.5 lies outside its interval"),
        (lambda v: _entry(v, "noise")["attacked"][0].pop("eps"), r"attacked\[0\]\.eps should be a number, got nothing"),
        (lambda v: _entry(v, "repeats")["values"].pop(), r"entries\[0\]: one value a seed, one seed or more, got 3 seeds and 2 values"),
        (lambda v: _entry(v, "repeats").update(mean=None), r"entries\[0\]\.mean should be a number, got nothing"),
        (lambda v: _entry(v, "shots").update(shots=None), r"shots should be an object, got nothing"),
        (lambda v: _entry(v, "shots")["shots"].update(needed=0), r"shots\.needed should be a whole number, 1 or more, got 0"),
        (lambda v: _entry(v, "shots")["shots"].update(needed=2.5), r"shots\.needed should be a whole number, got float"),
        (lambda v: _entry(v, "shots")["shots"]["points"][0].update(shots=-1), r"points\[0\]\.shots should be a whole number, 1 or more, got -1"),
        (lambda v: _entry(v, "certificates")["curve"]["linf"].pop(), r"curve\.linf should be 6 values, one an eps, got 5"),
        (lambda v: _entry(v, "certificates")["curve"].update(attacked=None), r"curve\.attacked should be 6 values, one an eps, got 0"),
        (lambda v: _entry(v, "certificates")["certificates"][0].update(violations=-1), r"violations should be a whole number, 0 or more, got -1"),
        (lambda v: _entry(v, "certificates")["certificates"][0].pop("violations"), r"violations should be a whole number, 0 or more, got None"),
        (lambda v: _entry(v, "detection")["rows"][0].update(by="day"), r"rows\[0\]\.by should be one of all, attack, eps, got 'day'"),
        (lambda v: _entry(v, "detection")["rows"][0].update(n=None), r"rows\[0\]\.n should be a whole number, 0 or more, got None"),
        (lambda v: _entry(v, "detection")["paper"][0].update(n=0), r"paper\[0\]\.n should be a whole number, 1 or more, got 0"),
        (lambda v: _entry(v, "detection")["roc"][0]["points"].append([0.5]), r"points\.51 should be a false and a true positive rate"),
        (lambda v: _entry(v, "detection")["roc"][0]["points"].append([0.5, 1.5]), r"points\.51 should be a false and a true positive rate"),
        (lambda v: _entry(v, "detection")["roc"][0]["points"].append("x"), r"points\.51 should be a list, got str"),
    ],
)
def test_wrong_entries(hard, change, message):
    _change(hard / "results.json", change)
    with pytest.raises(ValueError, match=message) as caught:
        report.write(hard)
    assert "results.json is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ways_to_encode_stand_beside_the_gates(small):
    ways = [{"amplitudes": "real", "method": "formula", "gates": {"RY": 1023, "CNOT": 1022}, "depth": 2036}]
    change = {"gates_real": 9845, "gates_complex": 11890, "shots": None, "preparations": ways}
    _change(small / "results.json", lambda v: _entry(v, "resources").update(change))
    page = _page(small)
    line = next(line for line in page.rows if "9,845encoding 2,045: 1,023 RY, 1,022 CNOT; depth 2,036" in line)
    assert "11,890" in line
    assert "gates with encoding, real amplitudes" in page.text
    assert "shots a prediction" not in page.text, "a column where nobody has a value"


def test_rows_are_kept_as_they_are(hard):
    before = (hard / "rows.json").read_text()
    report.write(hard)
    assert Rows.from_json(before).to_json() == (hard / "rows.json").read_text()
