"""Rows arranged for reading: attacks by name, the transfer table, the table of all rows, downloads. Values are looked up, never made."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qarmor.types import Row, Rows

MAX_ROWS = 4000
"""The page lists at most this many rows; the downloads hold all."""

REFERENCE_EPS = 0.1
"""The page opens at the eps of the grid nearest to this one."""

DASH = "\N{EN DASH}"
"""Stands where there is no number."""

FLAGS: Mapping[str, str] = {
    "zero-gradient": "On more than 1 % of the images the source's input gradient is exactly zero: a gradient attack has nothing to follow there, and "
    "the accuracy under it says little about robustness.",
    "non-finite-gradient": "The source's input gradient is NaN or infinite on at least one image, so a gradient attack on it may have failed.",
    "transfer-beats-white-box": "The same attack made on another network leaves this network fewer right answers than made on itself: the white-box "
    "accuracy overstates its robustness.",
    "accuracy-rises-with-eps": "At this eps the network gets more images right than at a smaller one: the attack missed what a larger ball contains.",
    "eps-zero-differs": "The attack with eps 0 changes nothing, yet the number of right answers differs from that on clean images: something other "
    "than the perturbation changes the result, such as a random network.",
    "chance-level": "The interval of the network's clean accuracy is not above the accuracy of always naming the commonest class: there is nothing "
    "an attack could take away.",
}
"""What each validity check means for the number beside it, by its code (those of ``evaluation.FLAGS``)."""


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with fixed decimals; a dash for None and NaN."""
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(row: Row) -> str:
    """The Wilson interval of a row, or a dash where nothing was counted."""
    return f"[{row.low:.3f}, {row.high:.3f}]" if row.n else DASH


def slug(text: str) -> str:
    """``text`` as a file name or an id: lower-case ASCII letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def slugs(texts: Iterable[str]) -> dict[str, str]:
    """A different slug for each text."""
    found: dict[str, str] = {}
    for text in texts:
        base = candidate = slug(text)
        count = 1
        while candidate in found.values():
            count += 1
            candidate = f"{base}-{count}"
        found[text] = candidate
    return found


@dataclass(frozen=True)
class AttackName:
    """An attack with its hyperparameters: ``key`` tells it from all others, ``label`` is for people."""

    key: tuple[str, str]
    label: str
    slug: str
    parameters: Mapping[str, Any]


def attack_key(row: Row) -> tuple[str, str]:
    """What tells one attack of the rows from another: its name and all its parameters."""
    return row.attack, json.dumps(dict(row.parameters), sort_keys=True, default=str)


def _attack_names(rows: Iterable[Row]) -> list[AttackName]:
    found = {attack_key(row): row for row in rows if row.source}
    labels = {}
    for (name, text), row in found.items():
        siblings = [other.parameters for key, other in found.items() if key[0] == name]
        told = [field for field in row.parameters if field == "loss" or any(p.get(field) != row.parameters[field] for p in siblings)]
        details = ", ".join(f"{field} {row.parameters[field]}" for field in told)
        labels[(name, text)] = f"{name} ({details})" if details else name
    names: dict[tuple[str, str], str] = {}
    for key, label in labels.items():
        count = sum(given == label for given in names.values())
        names[key] = f"{label} no. {count + 1}" if count else label
    unique = slugs(names.values())
    return [AttackName(key, label, unique[label], found[key].parameters) for key, label in names.items()]


class Book:
    """The rows of one data set, found by what they are about.

    Args:
        rows: rows of one data set; repetitions of a row and further seeds are not looked up, but counted in ``unseen``.
        order: names of networks in the order that figures and tables follow; others come after.
    """

    def __init__(self, rows: Rows, order: Sequence[str]) -> None:
        self.rows = rows
        self.dataset = rows[0].dataset
        self.attacks = _attack_names(rows)
        self._clean: dict[str, list[Row]] = {}
        self._attacked: dict[tuple[tuple[str, str], str, str, float, str], Row] = {}
        self.unseen = 0
        for row in rows:
            self._add(row)
        present = [*dict.fromkeys(name for row in rows for name in (row.source, row.target) if name)]
        self.networks = [name for name in order if name in present] + [name for name in present if name not in order]
        self.sources = [name for name in self.networks if any(row.source == name for row in rows)]
        self.targets = [name for name in self.networks if any(row.target == name for row in rows)]

    def _add(self, row: Row) -> None:
        if not row.source:
            if row.metric == "accuracy" and row not in self._clean.setdefault(row.target, []):
                self._clean[row.target].append(row)
        elif row.eps is None:
            self.unseen += 1
        else:
            key = (attack_key(row), row.source, row.target, row.eps, row.metric)
            if repr(self._attacked.setdefault(key, row)) != repr(row):  # equal texts also where the value is NaN
                self.unseen += 1

    @cached_property
    def majority(self) -> float | None:
        """Accuracy of always naming the commonest class, as the rows give it."""
        return next((row.majority for row in self.rows if row.majority is not None), None)

    @cached_property
    def eps(self) -> list[float]:
        """The eps of all attacked rows, rising."""
        return sorted({key[3] for key in self._attacked})

    @cached_property
    def reference_eps(self) -> float | None:
        """The eps at which the page opens: the one above 0 nearest to ``REFERENCE_EPS``."""
        return min((eps for eps in self.eps if eps > 0), key=lambda eps: abs(eps - REFERENCE_EPS), default=None)

    @cached_property
    def reference_attack(self) -> AttackName | None:
        """The attack with which the page opens: one on the margin, whose outcome the logit scale doesn't change, else the first."""
        margins = [attack for attack in self.attacks if attack.parameters.get("loss") == "margin"]
        return next(iter([*margins, *self.attacks]), None)

    def clean(self, target: str, n: int | None = None) -> Row | None:
        """Clean accuracy of ``target`` on ``n`` images; without ``n``, or where no row has it, on as many images as there are."""
        rows = self._clean.get(target, [])
        return next((row for row in rows if row.n == n), max(rows, key=lambda row: row.n, default=None))

    def find(self, attack: AttackName, source: str, target: str, eps: float, metric: str = "accuracy") -> Row | None:
        """The row of ``target`` under ``attack`` made on ``source``."""
        return self._attacked.get((attack.key, source, target, eps, metric))

    def curve(self, attack: AttackName, source: str, target: str) -> list[Row]:
        """Accuracies by rising eps. Starts with the clean row if the attack wasn't run at eps 0 and that row is about as many images."""
        rows = [row for eps in self.eps if (row := self.find(attack, source, target, eps))]
        if rows and rows[0].eps != 0:
            clean = self.clean(target, rows[0].n)
            rows = [clean, *rows] if clean and clean.n == rows[0].n else rows
        return rows


def shade(value: float) -> tuple[str, str]:
    """Background and text colour of a cell: pale for accuracy 1, dark blue for 0; text at a contrast of at least 4.5."""
    if math.isnan(value):
        return "#ffffff", "#1f2328"
    stops = ((12, 44, 92), (52, 116, 178), (158, 197, 226), (240, 246, 251))
    place = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    at = min(int(place), len(stops) - 2)
    rgb = tuple(round(a + (b - a) * (place - at)) for a, b in zip(stops[at], stops[at + 1], strict=True))
    back = "#{:02x}{:02x}{:02x}".format(*rgb)
    return back, max(("#ffffff", "#000000"), key=lambda ink: contrast(back, ink))


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two ``#rrggbb`` colours."""
    bright = sorted((_luminance(one), _luminance(other)))
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@dataclass(frozen=True)
class Cell:
    """One pair of networks in the transfer table; ``row`` is None where nothing was measured."""

    row: Row | None
    fooling: Row | None
    white_box: bool
    back: str
    ink: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the accuracy and of the fooling rate, each once."""
        return tuple(dict.fromkeys([*(self.row.flags if self.row else ()), *(self.fooling.flags if self.fooling else ())]))


@dataclass(frozen=True)
class Panel:
    """The transfer table at one attack and eps: a line a source, a cell a target."""

    attack: AttackName
    eps: float
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


def panels(book: Book) -> list[Panel]:
    """A transfer table for every attack and eps above 0."""
    return [_panel(book, attack, eps) for attack in book.attacks for eps in book.eps if eps > 0]


def _panel(book: Book, attack: AttackName, eps: float) -> Panel:
    lines = []
    for source in book.sources:
        cells = []
        for target in book.targets:
            row = book.find(attack, source, target, eps)
            back, ink = shade(row.value if row else math.nan)
            cells.append(Cell(row, book.find(attack, source, target, eps, "fooling_rate"), source == target, back, ink))
        lines.append((source, tuple(cells)))
    return Panel(attack, eps, tuple(lines))


def flag_counts(rows: Iterable[Row]) -> list[tuple[str, int, str]]:
    """Code, number of rows it stands on, and meaning of every known flag and of every other that occurs."""
    counts = dict.fromkeys(FLAGS, 0)
    for row in rows:
        for code in row.flags:
            counts[code] = counts.get(code, 0) + 1
    return [(code, count, FLAGS.get(code, "This report has no explanation of this flag.")) for code, count in counts.items()]


def data_url(text: str, kind: str) -> str:
    """``text`` as a link that downloads without a server."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def as_csv(rows: Rows) -> str:
    """The rows as CSV, every field a column; parameters as JSON, flags separated by spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = [field.name for field in dataclasses.fields(Row)]
    writer.writerow(fields)
    for row in rows:
        values = {name: getattr(row, name) for name in fields}
        values |= {"parameters": json.dumps(dict(row.parameters), sort_keys=True, default=str), "flags": " ".join(row.flags)}
        writer.writerow(["" if values[name] is None else values[name] for name in fields])
    return out.getvalue()


def as_json(rows: Rows) -> str:
    """The rows as ``Rows.from_json`` reads them."""
    return json.dumps([dataclasses.asdict(row) for row in rows], separators=(",", ":"))
