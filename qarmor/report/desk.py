"""What all views share: the results, a style for each network, the figures that were drawn, and a section's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from qarmor.report import figures, svg
from qarmor.report.inputs import Results, dataset_of
from qarmor.report.parts import Attacked, Section
from qarmor.report.tables import Book
from qarmor.types import Row

Context = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Desk:
    """What all views share.

    Attributes:
        results: the results directory.
        looks: a style for each network.
        drawings: SVG texts by file name, filled by the views.
    """

    results: Results
    looks: Mapping[str, figures.Style]
    drawings: dict[str, str] = field(default_factory=dict)

    def place(self, sheet: svg.Sheet, stem: str, labels: Sequence[str], inline: bool = True) -> Context:
        """Files the figure as ``stem`` and gives its panels for the page, none unless ``inline``."""
        self.drawings[f"{stem}.svg"] = sheet.svg
        return {"file": f"{stem}.svg", "plots": svg.panels(sheet, f"f{len(self.drawings)}", labels) if inline else []}

    def legend(self, names: Sequence[str], looks: Mapping[str, figures.Style] | None = None) -> list[tuple[Markup, str, int]]:
        """A piece of line, a name and the number of its lines, for each of ``names``, for the figure placed last."""
        found, prefix = looks or self.looks, f"l{len(self.drawings)}"
        return [(figures.swatch(found[name], f"line of {name}", f"{prefix}-{i}"), name, found[name].number) for i, name in enumerate(names)]

    def classes(self, dataset: str, count: int) -> list[str]:
        """Names of the classes of a data set, numbers where the results don't name them."""
        known = self.results.datasets.get(dataset)
        return list(known.classes) if known and known.classes else [str(number) for number in range(count)]


def rows_of(desk: Desk, body: Attacked) -> tuple[dict[str, list[Row]], int]:
    """The section's rows by data set, and the number of its tasks that have no rows."""
    by_key, found = desk.results.by_key, dict[str, list[Row]]()
    keys = list(dict.fromkeys(body.keys))
    for key in keys:
        for row in by_key.get(key, ()):
            found.setdefault(dataset_of(row), []).append(row)
    return found, sum(key not in by_key for key in keys)


def book_of(desk: Desk, body: Attacked, dataset: str, rows: Sequence[Row]) -> Book:
    """The section's rows of one data set, with its networks and attacks in the section's order."""
    attacks = desk.results.attacks
    known = [attacks[name] for name in dict.fromkeys([*(name for name in body.attacks if name in attacks), *attacks])]
    return Book(dataset, rows, [*body.sources, *body.targets, *desk.results.network_names], known)


def by_seed(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """The rows of each seed of the attacks, with the clean rows of the networks that they judge; nothing where no row is of an attack."""
    seeds = sorted({row.seed for row in rows if row.source})
    judged = {seed: {row.target for row in rows if row.source and row.seed == seed} for seed in seeds}
    return {seed: [row for row in rows if (row.seed == seed if row.source else row.target in judged[seed])] for seed in seeds}


def parts_of(desk: Desk, about: Section, body: Attacked) -> tuple[dict[str, tuple[Book, bool]], int]:
    """A book for each data set and seed of the attacks, by its title, and whether it is the data set's first; the number of tasks without rows."""
    rows, silent = rows_of(desk, body)
    found = {}
    for name in dict.fromkeys([*about.datasets, *rows]):
        seeds = by_seed(rows.get(name, ()))
        for seed, here in seeds.items():
            found[name if len(seeds) == 1 else f"{name}, seed {seed}"] = (book_of(desk, body, name, here), seed == next(iter(seeds)))
    return found, silent
