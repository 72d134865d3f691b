"""View of accuracies under several seeds: a table a data set and attack, each cell with the mean, its interval, and a dot a seed."""

from __future__ import annotations

from collections.abc import Sequence

from qarmor.report import tables
from qarmor.report.desk import Context, Desk
from qarmor.report.repeats import Repeated, Repeats

WIDTH = 100
"""Of a strip of dots, from accuracy 0 to 1."""


def repeats(desk: Desk, body: Repeats, anchor: str) -> Context:
    """By data set: how far seeds differ, in a sentence, and a table an attack."""
    names = list(dict.fromkeys(entry.dataset for entry in body.entries))
    parts = []
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = [entry for entry in body.entries if entry.dataset == name]
        attacks = dict.fromkeys(entry.attack for entry in here if entry.attack)
        parts.append(
            {
                "dataset": name,
                "id": f"{anchor}_{stem}",
                "seeds": sorted({seed for entry in here for seed in entry.seeds}),
                "reading": _reading(desk, here),
                "tables": [_table(desk, here, attack) for attack in attacks],
            }
        )
    return {"parts": parts, "width": WIDTH}


def _table(desk: Desk, here: Sequence[Repeated], attack: str) -> Context:
    """A line a pair of networks (made on, judged by), then a column an eps."""
    attacked = [entry for entry in here if entry.attack == attack]
    grid = sorted({entry.eps for entry in attacked})
    at = {(entry.source, entry.target, entry.eps): entry for entry in attacked}
    clean = {entry.target: entry for entry in here if not entry.source}
    pairs = dict.fromkeys((entry.source, entry.target) for entry in attacked)
    lines = [(*pair, [clean.get(pair[1]), *(at.get((*pair, eps)) for eps in grid)]) for pair in pairs]
    return {"attack": desk.results.attack_label(attack), "eps": grid, "lines": lines}


def _reading(desk: Desk, here: Sequence[Repeated]) -> str:
    """How far seeds differ: the largest spread of clean accuracies and of attacked ones."""
    said = []
    for words, some in (("clean", [e for e in here if not e.source]), ("attacked", [e for e in here if e.source])):
        if several := [entry for entry in some if len(entry.seeds) > 1]:
            widest = max(several, key=lambda entry: entry.spread)
            how = f" under {desk.results.attack_label(widest.attack)} made on {widest.source} at eps {widest.eps:g}" if widest.source else ""
            said.append(f"{words}, {widest.target}{how}: {min(widest.values):.3f} to {max(widest.values):.3f}")
    return f"Where seeds differ most: {'; '.join(said)}." if said else ""
