"""Views of networks that are attacked themselves: accuracy against eps, and the frontier of clean accuracy and robustness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qarmor.report import figures, scatter, tables
from qarmor.report.desk import Context, Desk, parts_of
from qarmor.report.parts import Attacked, Section
from qarmor.report.scatter import Point, front
from qarmor.report.summary import is_control
from qarmor.report.tables import AttackName, Book, listed
from qarmor.types import Row


def white_box(desk: Desk, about: Section, body: Attacked, anchor: str) -> Context:
    """By data set, seed and attack: a panel a group of networks, and a table of a line a network and a column an eps."""
    found, silent = parts_of(desk, about, body)
    parts = []
    for stem, (title, (book, first)) in zip(tables.slugs(found), found.items(), strict=True):
        curves = [_direct(desk, book, attack, f"{anchor}_{stem}_{attack.slug}", first) for attack in book.attacks]
        parts.append({"book": book, "title": title, "curves": curves, "id": f"{anchor}_{stem}"})
    return {"parts": parts, "absent": _absent(about, found.values()), "silent": silent, "scale": [tables.shade(step / 10)[0] for step in range(11)]}


def _absent(about: Section, found: Iterable[tuple[Book, bool]]) -> list[str]:
    done = {book.dataset for book, _ in found}
    return [name for name in about.datasets if name not in done]


def _direct(desk: Desk, book: Book, attack: AttackName, stem: str, inline: bool) -> Context:
    names = [name for name in book.sources if book.curve(attack, name, name)]
    groups = _groups(desk, names)
    eps = [eps for eps in book.eps if eps > 0 and any(book.find(attack, name, name, eps) for name in names)]
    labels = [
        f"Accuracy against eps under {attack.label}, {group}: {'; '.join(_ends(book, attack, name) for name in groups[group])}." for group in groups
    ]
    drawn = desk.place(figures.direct_sheet(book, attack, groups, desk.looks), stem, labels, inline) if groups else {"plots": [], "file": ""}
    lines = [(name, _cells(book, attack, name, eps), group) for group, members in groups.items() for name in members]
    return drawn | {"attack": attack, "legend": desk.legend([name for name, *_ in lines]) if inline else [], "eps": eps, "lines": lines}


def _groups(desk: Desk, names: Sequence[str]) -> dict[str, list[str]]:
    """Quantum networks, controls and other networks apart, so that no panel has all lines."""
    found: dict[str, list[str]] = {"quantum": [], "linear and quadratic controls": [], "classical": []}
    for name in names:
        found["quantum" if desk.results.quantum(name) else "linear and quadratic controls" if is_control(name) else "classical"].append(name)
    return {group: members for group, members in found.items() if members}


def _ends(book: Book, attack: AttackName, name: str) -> str:
    rows = book.curve(attack, name, name)
    shown = dict.fromkeys([0, *(i for i, row in enumerate(rows) if row.eps == book.reference_eps), len(rows) - 1])
    return f"{name} " + ", ".join(f"{rows[i].value:.2f} at {rows[i].eps:g}" for i in shown)


def _cells(book: Book, attack: AttackName, name: str, eps: Sequence[float]) -> list[tables.Cell]:
    """The clean accuracy on the same images, then one cell an eps."""
    rows = [book.find(attack, name, name, one) for one in eps]
    foolings: list[Row | None] = [book.find(attack, name, name, one, "fooling_rate") for one in eps]
    n = next((row.n for row in rows if row is not None), None)
    cells = []
    for row, fooling in zip([book.clean(name, n), *rows], [None, *foolings], strict=True):
        back, ink = tables.shade(row.value if row else float("nan"))
        cells.append(tables.Cell(row, fooling, False, back, ink))
    return cells


def frontier(desk: Desk, about: Section, body: Attacked, anchor: str) -> Context:
    """By data set and seed: a panel an attack and eps, what is outside the classical front, and the numbers."""
    found, silent = parts_of(desk, about, body)
    parts = []
    for stem, (title, (book, first)) in zip(tables.slugs(found), found.items(), strict=True):
        panels = [
            (f"{attack.label}, eps {eps:g}", points)
            for attack in book.attacks
            for eps in book.eps
            if eps > 0 and (points := _points(desk, book, attack, eps))
        ]
        labels = [_alt(book, words, points) for words, points in panels]
        note = f"{title}: each network attacked itself; crosses: Wilson 95 %"
        drawn = desk.place(scatter.frontier_sheet(panels, note), f"{anchor}_{stem}", labels, first) if panels else {"plots": [], "file": ""}
        sentences = [(words, *_outside(points)) for words, points in panels]
        parts.append(
            drawn
            | {
                "book": book,
                "title": title,
                "id": f"{anchor}_{stem}",
                "sentences": sentences,
                **_table(panels),
                "legend": desk.legend(list(scatter.LOOKS), scatter.LOOKS),
            }
        )
    return {"parts": parts, "absent": _absent(about, found.values()), "silent": silent}


def _points(desk: Desk, book: Book, attack: AttackName, eps: float) -> list[Point]:
    points = []
    for name in book.sources:
        row = book.find(attack, name, name, eps)
        clean = book.clean(name, row.n) if row else None
        if row and clean and row.n and clean.n:
            points.append(Point(name, desk.results.quantum(name), clean, row))
    return points


def _alt(book: Book, words: str, points: Sequence[Point]) -> str:
    told = [f"{point.name}, {_kind(point)}, {point.clean.value:.2f} and {point.attacked.value:.2f}" for point in points]
    return f"Clean accuracy and accuracy under {words} on {book.dataset}: {'; '.join(told)}."


def _kind(point: Point) -> str:
    return "quantum" if point.quantum else "classical"


def _reached(point: Point, rivals: Sequence[Point]) -> bool:
    """Whether a rival is at least as accurate in both ways."""
    return any(rival.clean.value >= point.clean.value and rival.attacked.value >= point.attacked.value for rival in rivals)


def _within(point: Point, rivals: Sequence[Point]) -> list[str]:
    """Rivals whose intervals reach the point's in both ways."""
    return [rival.name for rival in rivals if rival.clean.high >= point.clean.low and rival.attacked.high >= point.attacked.low]


def _outside(points: Sequence[Point]) -> tuple[str, list[str]]:
    """Names of quantum networks outside the front of the classical ones, in words, and a sentence with intervals about each."""
    quantum, rivals = ([point for point in points if point.quantum == which] for which in (True, False))
    if not quantum or not rivals:
        return f"not to be said, since no {'classical' if quantum else 'quantum'} network was measured", []
    outside = [point for point in quantum if not _reached(point, rivals)]
    sentences = []
    for point in outside:
        near = _within(point, rivals)
        verdict = (
            f"but the 95 % intervals of {listed(near)} reach it in both, so this may be chance"
            if near
            else "and no classical interval reaches it in both"
        )
        sentences.append(f"{point.name}: clean {_number(point.clean)}, under attack {_number(point.attacked)}; {verdict}.")
    return listed([point.name for point in outside]) or "none", sentences


def _number(row: Row) -> str:
    return f"{row.value:.3f} {tables.interval(row)}"


def _table(panels: Sequence[tuple[str, Sequence[Point]]]) -> Context:
    """A line a network, a column a panel; what is on the classical front or outside it is said."""
    lines: dict[str, dict[str, Point]] = {}
    places: dict[tuple[str, str], str] = {}
    for words, points in panels:
        rivals = [point for point in points if not point.quantum]
        stairs = {point.name for point in front(rivals)}
        for point in points:
            lines.setdefault(point.name, {})[words] = point
            inside = "outside the front" if rivals and not _reached(point, rivals) else "inside"
            places[point.name, words] = inside if point.quantum else "on the front" if point.name in stairs else ""
    titles = [words for words, _ in panels]
    table = [
        (name, _kind(next(iter(at.values()))), next(iter(at.values())).clean, [(at.get(words), places.get((name, words), "")) for words in titles])
        for name, at in lines.items()
    ]
    return {"titles": titles, "lines": table}
