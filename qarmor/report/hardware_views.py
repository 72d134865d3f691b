"""Views of hardware: networks under noise, with finite shots, and certified radii."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qarmor.report import curves, figures, tables
from qarmor.report.curves import ATTACKED, NoisePanel
from qarmor.report.desk import Context, Desk
from qarmor.report.hardware import Certificate, Certificates, Certified, FiniteShots, Noisy, Rate, Shots, UnderNoise, WithShots

BEST = "linf_box"
CERTIFICATES: Mapping[str, tuple[str, str]] = {
    "hypothesis_testing": ("hypothesis testing", "Weber et al. (2021), in l2, over the square root of the number of pixels"),
    "exact_l2": ("exact in l2", "distance to the nearest vector that is named wrongly, over the square root of the number of pixels"),
    "linf": ("l_inf", "for l_inf balls, in closed form"),
    BEST: ("l_inf within [0, 1]", "for l_inf balls of images, whose pixels stay in [0, 1]; never below l_inf"),
}
"""What a certificate is called on the page and what it is, as a rule from the smallest radius to the largest."""


def shots_in_words(shots: Shots) -> str:
    """The number needed, or how many did not suffice."""
    if shots.needed is not None:
        return f"{shots.needed:,}"
    if not shots.points:
        return "none tried"
    most = max(count for count, _ in shots.points)
    power = most.bit_length() - 1
    return f"more than {f'2^{power}' if most == 1 << power and power > 9 else f'{most:,}'} tried"


def _needed(shots: Shots | None) -> Context | None:
    """A table's cell; ``idle`` where always naming the commonest class is as good as what is wanted."""
    if shots is None:
        return None
    idle = shots.majority is not None and shots.wanted <= shots.majority
    sort = shots.needed if shots.needed is not None else 1e30
    return {"words": shots_in_words(shots), "sort": sort, "idle": idle, "shots": shots}


def noise(desk: Desk, body: Noisy, anchor: str) -> Context:
    """By data set: a figure a place where noise acts, and one table."""
    looks = figures.styles([_line(entry, body) for entry in body.entries if entry.noise])
    parts = []
    names = list(dict.fromkeys(entry.dataset for entry in body.entries))
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = [entry for entry in body.entries if entry.dataset == name]
        attacks = sorted({key for entry in here for key in entry.attacked}, key=lambda key: (_order(desk, key[0]), key))
        places = dict.fromkeys(entry.noise.where for entry in here if entry.noise)
        drawn = [_noise_figure(desk, body, looks, here, attacks, where, f"{anchor}_{stem}_{tables.slug(where)}") for where in places]
        titles = [f"{desk.results.attack_label(attack)}, eps {eps:g}" for attack, eps in attacks]
        lines = [
            {"entry": entry, "attacked": [entry.attacked.get(key) for key in attacks], "needed": _needed(entry.shots)}
            for entry in sorted(here, key=lambda entry: entry.noise is not None)
        ]
        parts.append({"dataset": name, "figures": [one for one in drawn if one], "titles": titles, "lines": lines})
    return {"parts": parts}


def _order(desk: Desk, attack: str) -> int:
    names = list(desk.results.attacks)
    return names.index(attack) if attack in names else len(names)


def _line(entry: UnderNoise, body: Noisy) -> str:
    """A line's name: the kind of noise, with its network where there are several."""
    kind = entry.noise.kind if entry.noise else "no noise"
    return f"{entry.network}, {kind}" if len({one.network for one in body.entries}) > 1 else kind


def _noise_figure(
    desk: Desk,
    body: Noisy,
    looks: Mapping[str, figures.Style],
    here: Sequence[UnderNoise],
    attacks: Sequence[tuple[str, float]],
    where: str,
    stem: str,
) -> Context | None:
    """Noise of one place; a strength of 0 or none at all has no place on a logarithmic axis and stands in the table alone."""
    noisy = [entry for entry in here if entry.noise and entry.noise.where == where and entry.noise.rate]
    panels, labels = [], []
    for key in [None, *attacks]:
        title = "clean images" if key is None else f"{desk.results.attack_label(key[0])}, eps {key[1]:g}"
        lines: dict[str, list[tuple[float, Rate]]] = {}
        for entry in noisy:
            if (value := _value(entry, key)) is not None and entry.noise and entry.noise.rate:
                lines.setdefault(_line(entry, body), []).append((entry.noise.rate, value))
        lines = {label: sorted(points, key=lambda point: point[0]) for label, points in lines.items()}
        shown = {entry.network for entry in noisy}
        still = {e.network: v.value for e in here if e.noise is None and e.network in shown and (v := _value(e, key)) is not None}
        if lines:
            panels.append(NoisePanel(title, lines, still))
            labels.append(_noise_alt(title, where, panels[-1]))
    if not panels:
        return None
    used = {label: style for label, style in looks.items() if any(label in panel.lines for panel in panels)}
    drawn = desk.place(curves.noise_sheet(panels, used, f"noise at each {where}" if where != "end" else "noise at the end"), stem, labels)
    return drawn | {"where": where, "legend": desk.legend(list(used), used)}


def _value(entry: UnderNoise, key: tuple[str, float] | None) -> Rate | None:
    return entry.clean if key is None else entry.attacked.get(key)


def _noise_alt(title: str, where: str, panel: NoisePanel) -> str:
    told = [f"{label} " + ", ".join(f"{rate.value:.2f} at {x:g}" for x, rate in points) for label, points in panel.lines.items()]
    still = [f"{name} {value:.2f}" for name, value in panel.noiseless.items()]
    return f"Accuracy ({title}) against the rate of noise, {where}: {'; '.join(told)}. Without noise: {', '.join(still) or 'not measured'}."


def shots(desk: Desk, body: FiniteShots, anchor: str) -> Context:
    """By data set: a figure, and the shots that each network needs."""
    parts = []
    names = list(dict.fromkeys(entry.dataset for entry in body.entries))
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = [entry for entry in body.entries if entry.dataset == name]
        looks = figures.styles([entry.network for entry in body.entries])
        told = [_shots_alt(entry) for entry in here]
        label = f"Accuracy on {name} against shots an image: {'; '.join(told)}."
        drawn = desk.place(curves.shots_sheet(name, here, looks), f"{anchor}_{stem}", [label])
        counts = sorted({count for entry in here for count, _ in entry.shots.points})
        lines = [{"entry": entry, "needed": _needed(entry.shots), "points": [dict(entry.shots.points).get(c) for c in counts]} for entry in here]
        legend = desk.legend([entry.network for entry in here], looks)
        parts.append(drawn | {"dataset": name, "lines": lines, "counts": counts, "legend": legend})
    return {"parts": parts}


def _shots_alt(entry: WithShots) -> str:
    points = entry.shots.points
    shown = [points[i] for i in sorted({0, len(points) // 2, len(points) - 1})] if points else []
    return f"{entry.network} " + ", ".join([*(f"{rate.value:.2f} with {count:,}" for count, rate in shown), f"{entry.shots.exact:.2f} exactly"])


def certificates(desk: Desk, body: Certificates, anchor: str) -> Context:
    """By data set: a panel a network, and the table of ratios and violations."""
    kinds = dict.fromkeys(name for entry in body.entries for name in [*(one.name for one in entry.certificates), *entry.certified])
    order = [*(name for name in CERTIFICATES if name in kinds), *(name for name in kinds if name not in CERTIFICATES)]
    words = {name: _called(name) for name in order}
    looks = figures.styles([ATTACKED, *(words[name] for name in reversed(order))])
    parts = []
    names = list(dict.fromkeys(entry.dataset for entry in body.entries))
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = [entry for entry in body.entries if entry.dataset == name]
        labels = [_certified_alt(entry, words) for entry in here]
        title = f"{name}: shaded, where the robust accuracy on these images lies"
        drawn = desk.place(curves.certificate_sheet(here, looks, words, BEST, title), f"{anchor}_{stem}", labels)
        lines = []
        for entry in here:
            by_name = {one.name: one for one in entry.certificates}
            lines.append({"entry": entry, "attack": desk.results.attack_label(entry.attack), "cells": [by_name.get(kind) for kind in order]})
        bounds = [{"entry": entry, "rows": _bounds(entry, order)} for entry in here]
        legend = desk.legend(list(looks), looks)
        parts.append(drawn | {"dataset": name, "lines": lines, "bounds": bounds, "legend": legend})
    broken = [(entry.dataset, entry.network, words[one.name], one) for entry in body.entries for one in entry.certificates if one.violations]
    meanings = [(_called(name), CERTIFICATES[name][1]) for name in order if name in CERTIFICATES]
    return {"parts": parts, "titles": [words[name] for name in order], "meanings": meanings, "violations": [_violated(*one) for one in broken]}


def _called(name: str) -> str:
    return CERTIFICATES[name][0] if name in CERTIFICATES else name.replace("_", " ")


def _violated(dataset: str, network: str, certificate: str, one: Certificate) -> str:
    images = "image" if one.violations == 1 else "images"
    return (
        f"{network} on {dataset}: certificate {certificate} is wrong for {one.violations:,} {images}: an attack within the certified radius succeeds"
    )


def _certified_alt(entry: Certified, words: Mapping[str, str]) -> str:
    lines = {ATTACKED: entry.attacked, **{words[name]: values for name, values in entry.certified.items()}}
    told = [
        f"{label} " + ", ".join(f"{one.value:.2f} at {eps:g}" for eps, one in zip(entry.eps, values, strict=True)) for label, values in lines.items()
    ]
    return f"Accuracy of {entry.network} on {entry.dataset} under attack and certified, against eps: {'; '.join(told)}."


def _bounds(entry: Certified, order: Sequence[str]) -> list[tuple[float, list[Rate | None]]]:
    """For each eps the accuracy under the best attack and what each certificate vouches for."""
    lines = [entry.attacked, *(entry.certified.get(name, ()) for name in order)]
    return [(eps, [line[i] if line else None for line in lines]) for i, eps in enumerate(entry.eps)]
