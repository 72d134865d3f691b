"""Direct attacks and the frontier: groups, stairs, and the sentence about quantum networks."""

import random
import re
import xml.etree.ElementTree as ET
from itertools import product

import pytest

from qarmor.report import frontier, scatter
from qarmor.report.scatter import Point, front, frontier_sheet
from qarmor.types import Row
from tests.report.conftest import make_row
from tests.report.test_page import Page


def _row(share, n=1000):
    return make_row("mnist", target="x", share=share, n=n)


def _point(name, clean, attacked, quantum=False, n=1000):
    return Point(name, quantum, _row(clean, n), _row(attacked, n))


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "index.html").read_text())


def test_front_is_what_nobody_beats(seed):
    numbers = random.Random(seed)
    for _ in range(50):
        points = [_point(str(i), numbers.randrange(8) / 8, numbers.randrange(8) / 8) for i in range(numbers.randrange(1, 12))]

        def beaten(one, points=points):
            return any(all(x >= y for x, y in zip(other.at, one.at, strict=True)) and other.at != one.at for other in points)

        assert {point.at for point in front(points)} == {point.at for point in points if not beaten(point)}
        assert len(front(points)) == len({point.at for point in front(points)})
        ats = [point.at for point in front(points)]
        assert ats == sorted(ats)
        assert [y for _, y in ats] == sorted((y for _, y in ats), reverse=True)


CLASSICAL = [_point("linear", 0.9, 0.4), _point("convnet", 0.99, 0.8), _point("mlp", 0.95, 0.2)]


@pytest.mark.parametrize(
    ("clean", "attacked", "names", "words"),
    [
        (0.9, 0.5, "none", []),
        (0.99, 0.8, "none", []),
        (0.5, 0.9, "qvc", ["and no classical interval reaches it in both"]),
        (0.99, 0.81, "qvc", ["but the 95 % intervals of convnet reach it in both, so this may be chance"]),
        (1.0, 0.1, "qvc", ["and no classical interval reaches it in both"]),
        (0.998, 0.1, "qvc", ["but the 95 % intervals of convnet reach it in both"]),
        (0.99, 0.83, "qvc", ["but the 95 % intervals of convnet reach it in both"]),
    ],
)
def test_what_is_outside(clean, attacked, names, words):
    found, sentences = frontier._outside([*CLASSICAL, _point("qvc", clean, attacked, True)])
    assert found == names
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence
        assert sentence.startswith(f"qvc: clean {clean:.3f} [")
        assert f"under attack {attacked:.3f} [" in sentence


def test_no_front_without_both_kinds():
    assert frontier._outside(CLASSICAL) == ("not to be said, since no quantum network was measured", [])
    assert frontier._outside([_point("q", 0.5, 0.5, True)])[0] == "not to be said, since no classical network was measured"


def test_the_sentence_follows_from_the_rows(page, written, evil_name):
    lines = [attrs for attrs in page.all("ul") if attrs.get("class") == "verdicts"]
    assert len(lines) == 2
    assert page.text.count("Quantum networks outside the classical front: none.") == 2 * 2 * 3, "convnet is better in both everywhere"
    line = next(line for line in page.rows if line[0] == evil_name and line[1:2] == ["quantum"] and len(line) == 9)
    assert line[3].endswith("inside")
    assert next(line for line in page.rows if line[0] == "convnet" and line[1:2] == ["classical"] and len(line) == 9)[3].endswith("on the front")


def _texts(sheet):
    return list(ET.fromstring(sheet.svg).iter("{http://www.w3.org/2000/svg}text"))


def _stairs(points):
    path = re.search(r'<g id="line-2">\s*<path d="([^"]*)"', frontier_sheet([("pgd", points)], "t").svg)[1]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path)]


def test_stairs_go_right_and_down():
    assert [point.name for point in front(CLASSICAL)] == ["convnet"]
    assert len(_stairs(CLASSICAL)) == 3
    corners = _stairs([*CLASSICAL, _point("robust", 0.8, 0.95), _point("qvc", 1.0, 1.0, True)])
    assert len(corners) == 5, "a quantum network is no part of it"
    (x0, y0), (x1, y1), (x2, y2), (x3, y3), (x4, y4) = corners
    assert (y0, x1, y2, x3) == (y1, x2, y3, x4)
    assert x0 < x1 < x3
    assert y0 < y2 < y4, "in a drawing, y grows downwards"


def test_names_do_not_cover_one_another(seed):
    numbers = random.Random(seed)
    points = [_point(f"network-{i}", 0.6 + 0.4 * numbers.random(), numbers.random(), i % 2 == 0) for i in range(14)]
    placed = []
    for element in _texts(frontier_sheet([("pgd", points)], "t")):
        if (element.text or "").startswith("network-"):
            # a rotation by no angle about the place of the text
            found = re.search(r"rotate\(-?0 (-?[\d.]+) (-?[\d.]+)\)", element.get("transform") or "")
            placed.append((float(found[1]), float(found[2])) if found else (float(element.get("x")), float(element.get("y"))))
    assert len(placed) == 14
    close = [(a, b) for a, b in product(placed, placed) if a < b and abs(a[0] - b[0]) < 30 and abs(a[1] - b[1]) < 6]
    assert not close


@pytest.mark.parametrize("name", ["日本", "_a", "$x_2$", "long " * 40])
def test_any_name_can_be_a_point(name):
    ET.fromstring(frontier_sheet([(name, [_point(name, 0.5, 0.5)])], name).svg)


def test_points_on_one_another(seed):
    points = [_point(f"n{i}", 0.5, 0.5, n=10) for i in range(14)]
    assert frontier_sheet([("a", points)], "t").svg.count("<text") > 14


def test_kinds_have_their_own_markers():
    assert len({look.marker for look in scatter.LOOKS.values()}) == 3
    assert len({look.colour for look in scatter.LOOKS.values()}) == 3


def test_direct_attacks_have_a_line_a_network_and_a_column_an_eps(page, written, evil_name):
    from qarmor.types import Rows

    rows = Rows.from_json((written / "rows.json").read_text()).where(dataset="cifar2/test", metric="accuracy", attack="pgd")
    lines = [line for line in page.rows if len(line) == 5 and line[0].startswith("quadratic") and "controls" in line[0]]
    assert len(lines) == 2 * 2
    own: list[Row] = [row for row in rows.where(source="quadratic", target="quadratic") if row.parameters["loss"] == "ce" and row.eps > 0]
    line = next(line for line in lines if f"{own[0].value:.3f}[{own[0].low:.3f}" in line[2])
    for cell, row in zip(line[2:], own, strict=True):
        assert cell.startswith(f"{row.value:.3f}[{row.low:.3f}, {row.high:.3f}]{row.successes} of {row.n}fooled ")
    groups = {line[0].removeprefix(evil_name) for line in page.rows if len(line) == 5 and line[0].startswith(evil_name)}
    assert "quantum" in groups
