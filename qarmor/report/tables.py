"""Rows arranged for reading: attacks by name, the transfer table, flags, CSV. Values are looked up, never made."""

from __future__ import annotations

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

from qarmor.report.inputs import AttackInfo
from qarmor.report.parts import PaperValue
from qarmor.types import Row, Rows

REFERENCE_EPS = 0.1
"""Sentences and opened tables are about the eps of the grid nearest to this one."""

DASH = "\N{EN DASH}"
"""Stands where there is no number."""

FLAGS: Mapping[str, str] = {
    "zero-gradient": "On more than 1 % of the images the source's input gradient is exactly zero: a gradient attack has nothing to follow there, and "
    "the accuracy under it says little about robustness.",
    "non-finite-gradient": "The source's input gradient is NaN or infinite on at least one image, so a gradient attack on it may have failed.",
    "saturated": "The source's logits are so far apart that the gradient of cross-entropy underflows to zero on some images where that of the margin "
    "does not: an attack on cross-entropy is blind there, one on the margin is not.",
    "stochastic": "The source declares that its output is random and the attack does not average over its draws: one that does, eot, may do better.",
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


def limits(low: float | None, high: float | None) -> str:
    """An interval in brackets, or a dash where there is none."""
    return DASH if low is None or high is None or math.isnan(low + high) else f"[{low:.3f}, {high:.3f}]"


def interval(row: Row) -> str:
    """The Wilson interval of a row, or a dash where nothing was counted."""
    return limits(row.low, row.high) if row.n else DASH


def quantity(value: float | str | None) -> str:
    """A quantity, thousands separated; words as they are, a dash for None."""
    if value is None or isinstance(value, str):
        return value or DASH
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time in words, e.g. ``"1 min 14 s"``."""
    if seconds is None or math.isnan(seconds):
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: object) -> str:
    """A JSON value as text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def listed(parts: Sequence[str]) -> str:
    """``"a, b and c"``; ``""`` for nothing."""
    return "".join(parts) if len(parts) < 2 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def slug(text: str) -> str:
    """``text`` as a file name or an id: at most 60 lower-case ASCII letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "x"


def slugs(texts: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """A different slug for each text, none of them in ``taken``."""
    used, found = set(taken), []
    for text in texts:
        base = candidate = slug(text)
        count = 1
        while candidate in used:
            count += 1
            candidate = f"{base}-{count}"
        used.add(candidate)
        found.append(candidate)
    return found


@dataclass(frozen=True)
class AttackName:
    """An attack with its hyperparameters: ``key`` tells it from all others, ``label`` is for people."""

    key: tuple[str, str]
    label: str
    slug: str
    parameters: Mapping[str, Any]


def attack_key(name: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """What tells one attack from another: its name and all its parameters."""
    return name, json.dumps(dict(parameters), sort_keys=True, default=str)


def attack_names(rows: Iterable[Row], known: Iterable[AttackInfo] = ()) -> list[AttackName]:
    """The attacks of the rows: those that are ``known`` first, in that order, then others, named by what tells them apart."""
    found = {attack_key(row.attack, row.parameters): row.parameters for row in rows if row.source}
    given = {attack_key(info.name, info.parameters): info.label for info in known}
    labels = {key: label for key, label in given.items() if key in found}
    for key, parameters in found.items():
        if key not in given:
            siblings = [other for other_key, other in found.items() if key[0] == other_key[0]]
            told = [field for field in parameters if field == "loss" or any(p.get(field) != parameters[field] for p in siblings)]
            details = ", ".join(f"{field} {plain(parameters[field])}" for field in told)
            labels[key] = f"{key[0]} ({details})" if details else key[0]
    names: dict[tuple[str, str], str] = {}
    for key, label in labels.items():
        count = sum(other == label for other in labels.values())
        at = sum(labels[other] == label for other in names) + 1
        names[key] = f"{label} no. {at}" if count > 1 else label
    unique = slugs(names.values())
    return [AttackName(key, label, short, found[key]) for (key, label), short in zip(names.items(), unique, strict=True)]


class Book:
    """The rows of one data set, found by what they are about.

    Args:
        dataset: name of the data set.
        rows: its rows; repetitions of a row, further seeds and other numbers of images are not looked up, but counted in ``unseen``.
        order: names of networks in the order that figures and tables follow; others come after.
        known: attacks of the study, in the order that they are shown.
    """

    def __init__(self, dataset: str, rows: Sequence[Row], order: Sequence[str], known: Iterable[AttackInfo] = ()) -> None:
        self.rows = rows
        self.dataset = dataset
        self.attacks = attack_names(rows, known)
        self._clean: dict[str, dict[int, Row]] = {}
        self._attacked: dict[tuple[tuple[str, str], str, str, float, str], Row] = {}
        self.unseen = 0
        for row in rows:
            self._add(row)
        present = dict.fromkeys(name for row in rows for name in (row.source, row.target) if name)
        self.networks = [name for name in dict.fromkeys(order) if name in present] + [name for name in present if name not in order]
        made_on, judged = {row.source for row in rows}, {row.target for row in rows}
        self.sources = [name for name in self.networks if name in made_on]
        self.targets = [name for name in self.networks if name in judged]

    def _add(self, row: Row) -> None:
        if not row.source:
            if row.metric == "accuracy":
                self._clean.setdefault(row.target, {}).setdefault(row.n, row)
        elif row.eps is None:
            self.unseen += 1
        else:
            key = (attack_key(row.attack, row.parameters), row.source, row.target, row.eps, row.metric)
            kept = self._attacked.setdefault(key, row)
            if kept is not row and repr(kept) != repr(row):  # equal texts also where the value is NaN
                self.unseen += 1

    @cached_property
    def majority(self) -> float | None:
        """Accuracy of always naming the commonest class of the attacked images, else of the clean ones, as the rows give it."""
        rows = sorted(self.rows, key=lambda row: not row.source)
        return next((row.majority for row in rows if row.majority is not None), None)

    @cached_property
    def eps(self) -> list[float]:
        """The eps of all attacked rows, rising."""
        return sorted({key[3] for key in self._attacked})

    @cached_property
    def reference_eps(self) -> float | None:
        """The eps that sentences are about: the one above 0 nearest to ``REFERENCE_EPS``."""
        return min((eps for eps in self.eps if eps > 0), key=lambda eps: abs(eps - REFERENCE_EPS), default=None)

    @cached_property
    def reference_attack(self) -> AttackName | None:
        """The attack that sentences are about: one on the margin, whose outcome the logit scale doesn't change, else the first."""
        margins = [attack for attack in self.attacks if attack.parameters.get("loss") == "margin"]
        return next(iter([*margins, *self.attacks]), None)

    @cached_property
    def sizes(self) -> list[int]:
        """The different numbers of images that were attacked, rising."""
        return sorted({row.n for key, row in self._attacked.items() if key[4] == "accuracy"})

    def clean(self, target: str, n: int | None = None) -> Row | None:
        """Clean accuracy of ``target`` on ``n`` images; without ``n``, or where no row has it, on as many images as there are."""
        rows = self._clean.get(target, {})
        return rows.get(n or -1) or max(rows.values(), key=lambda row: row.n, default=None)

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

    eps: float
    clean: tuple[tuple[str, Row | None], ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


def panels(book: Book, attack: AttackName) -> list[Panel]:
    """A transfer table for every eps above 0 at which ``attack`` was made."""
    found = [_panel(book, attack, eps) for eps in book.eps if eps > 0]
    return [panel for panel in found if panel.lines]


def _panel(book: Book, attack: AttackName, eps: float) -> Panel:
    lines, sizes = [], set()
    for source in book.sources:
        cells = []
        for target in book.targets:
            row = book.find(attack, source, target, eps)
            back, ink = shade(row.value if row else math.nan)
            cells.append(Cell(row, book.find(attack, source, target, eps, "fooling_rate"), source == target, back, ink))
        if any(cell.row for cell in cells):
            lines.append((source, tuple(cells)))
            sizes |= {cell.row.n for cell in cells if cell.row}
    n = max(sizes, default=None)
    return Panel(eps, tuple((target, book.clean(target, n)) for target in book.targets), tuple(lines))


def flag_counts(rows: Iterable[Row]) -> list[tuple[str, int, str]]:
    """Code, number of rows it stands on, and meaning of every known flag and of every other that occurs."""
    counts = dict.fromkeys(FLAGS, 0)
    for row in rows:
        for code in row.flags:
            counts[code] = counts.get(code, 0) + 1
    return [(code, count, FLAGS.get(code, "This report has no explanation of this flag.")) for code, count in counts.items()]


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


@dataclass(frozen=True)
class CleanLine:
    """Clean accuracy of one network, ours and the paper's; None where there is none."""

    network: str
    row: Row | None
    paper: PaperValue | None


def clean_lines(book: Book | None, order: Sequence[str], paper: Iterable[PaperValue]) -> list[CleanLine]:
    """A line for each network that we or the paper measured; the paper's values are those of its accuracies on this data set."""
    theirs = {value.network: value for value in paper if value.quantity == "accuracy"}
    ours = book.targets if book else []
    names = dict.fromkeys([*(name for name in order if name in ours or name in theirs), *ours, *theirs])
    return [CleanLine(name, book.clean(name) if book else None, theirs.get(name)) for name in names]
