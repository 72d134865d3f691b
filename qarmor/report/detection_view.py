"""View of attack detection: rates of each pair of networks beside the paper's, breakdowns, ROC curves."""

from __future__ import annotations

from collections.abc import Sequence

from qarmor.report import curves, figures, tables
from qarmor.report.desk import Context, Desk
from qarmor.report.detection import Detection, Pair, Rated

ROLES = ("attacked on the first network", "attacked on the second network", "attacked by one who knows the detector")
METRICS = {
    "true_positive_rate": "true positives",
    "true_positive_rate_fooled": "… where the attack worked",
    "undetected_error_rate": "undetected errors",
    "evasion_rate": "evasions",
}
"""Breakdown by disagreement; with ``score_`` in front, by the score."""
AREAS = {"auc": "area under ROC", "auc_fooled": "… where the attack worked", "source_fooled_rate": "attacks that worked"}


def detection(desk: Desk, body: Detection, anchor: str) -> Context:
    """By data set: the headline, a ROC panel a pair, and the breakdown of each."""
    parts = []
    names = list(dict.fromkeys(entry.dataset for entry in body.entries))
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = [entry for entry in body.entries if entry.dataset == name]
        roles = {(pair.first, pair.second, curve.source): _role(pair, curve.source) for pair in here for curve in pair.roc}
        looks = figures.styles([*ROLES, *roles.values()])
        looks = {role: style for role, style in looks.items() if role in roles.values()}
        drawable = [pair for pair in here if pair.roc]
        part: Context = {"dataset": name, "headline": [line for pair in here for line in _headline(pair)], "plots": [], "n": here[0].n}
        part["scores"] = [f"{_title(pair)}, {_by_score(pair)}" for pair in here if pair.find("score_false_positive_rate", "")]
        if drawable:
            title = f"{name}; cross: alarm where the two disagree; dotted: chance"
            part |= desk.place(curves.roc_sheet(drawable, looks, roles, title), f"{anchor}_{stem}", [_alt(pair) for pair in drawable])
            part["legend"] = desk.legend(list(looks), looks)
        part["pairs"] = [{"title": _title(pair), "first": pair.first, "second": pair.second, "tables": _breakdown(desk, pair)} for pair in here]
        parts.append(part)
    return {"parts": parts}


def _title(pair: Pair) -> str:
    return f"{pair.first} and {pair.second}"


def _role(pair: Pair, source: str) -> str:
    known = {pair.first: ROLES[0], pair.second: ROLES[1], pair.both: ROLES[2]}
    return known.get(source, f"attacked on {source}")


def _alt(pair: Pair) -> str:
    areas = [f"{_role(pair, row.source)} {row.value:.2f}" for row in pair.rows if row.metric == "auc" and row.by == "all"]
    return f"ROC curves of {_title(pair)} on {pair.dataset}; areas: {', '.join(areas) or 'not measured'}. The table has the rates."


def _headline(pair: Pair) -> list[Context]:
    """A line for the alarm of disagreement, beside the paper's numbers, and one for the score's."""
    lines = []
    for prefix in ("", "score_"):
        clean = pair.find(f"{prefix}false_positive_rate", "")
        if clean is None:
            continue
        cells = [
            clean,
            pair.find(f"{prefix}true_positive_rate", pair.first),
            pair.find(f"{prefix}true_positive_rate_fooled", pair.first),
            pair.find("auc", pair.first) if prefix else None,
            pair.find(f"{prefix}true_positive_rate", pair.both),
            pair.find(f"{prefix}evasion_rate", pair.both),
        ]
        names = ("false_positive_rate", "true_positive_rate")
        paper = {one.metric: one for one in pair.paper} if not prefix else {}
        beside = [paper.get(name) for name in (*names, *[""] * (len(cells) - len(names)))]
        lines.append({"title": _title(pair), "alarm": "score" if prefix else "they disagree", "cells": cells, "paper": beside})
    return lines


def _by_score(pair: Pair) -> str:
    nominal = "" if pair.nominal is None else f", set for {100 * pair.nominal:g} % false alarms on other images"
    return f"above {tables.number(pair.threshold)}{nominal}"


def _breakdown(desk: Desk, pair: Pair) -> list[Context]:
    """A table each for disagreement, for the score, and for what no threshold is about: a line a source, an attack or a bin of eps."""
    found: list[Context] = []
    scored = {f"score_{metric}": words for metric, words in METRICS.items()}
    for title, metrics in (
        ("alarm where they disagree", METRICS),
        (f"alarm where the score is {_by_score(pair)}", scored),
        ("whatever the alarm", AREAS),
    ):
        shown = {metric: words for metric, words in metrics.items() if any(row.metric == metric and row.source for row in pair.rows)}
        lines: dict[tuple[str, str, str], dict[str, Rated]] = {}
        for row in pair.rows:
            if row.source and row.metric in shown:
                lines.setdefault((row.source, row.by, _which(desk, row)), {})[row.metric] = row
        if lines:
            table = [(_role(pair, source), by, which, [at.get(metric) for metric in shown]) for (source, by, which), at in _sorted(lines)]
            found.append({"title": title, "columns": list(shown.values()), "lines": table, "clean": None})
    clean = [row for row in pair.rows if not row.source and row.metric.endswith("undetected_error_rate")]
    if clean and found:
        found[0]["clean"] = clean[0]
    return found


def _sorted(lines: dict[tuple[str, str, str], dict[str, Rated]]) -> Sequence[tuple[tuple[str, str, str], dict[str, Rated]]]:
    """By source in the order of the rows, all images first, then attacks, then eps."""
    sources = list(dict.fromkeys(source for source, *_ in lines))
    return sorted(lines.items(), key=lambda entry: (sources.index(entry[0][0]), ("all", "attack", "eps").index(entry[0][1])))


def _which(desk: Desk, row: Rated) -> str:
    if row.by == "all":
        return "all"
    if row.by == "attack":
        return desk.results.attack_label(row.attack)
    return f"eps {tables.DASH if row.eps_low is None else f'{row.eps_low:g}'} to {tables.DASH if row.eps_high is None else f'{row.eps_high:g}'}"
