"""What the template shows of an overview: pictures encoded, diagrams drawn once for the data sets that share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from qarmor.report import diagrams, pixels, tables
from qarmor.report.desk import Context, Desk
from qarmor.report.drawing import Drawing
from qarmor.report.overview import Architecture, Circuit, Overview, Pictures

_KINDS = ("classical", "quantum")


def overview(desk: Desk, body: Overview, anchor: str) -> Context:
    """Pictures by data set, then architectures, then who judges whose attacks."""
    cards = [_card(desk, body, one) for one in body.pictures]
    parts: dict[tuple[Drawn, ...], list[str]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in body.architectures):
        drawn = _grouped([architecture for name, architecture in body.architectures if name == dataset])
        parts.setdefault(drawn, []).append(dataset)
    return {
        "source": body.source,
        "attack": desk.results.attack_label(body.attack),
        "eps": body.eps,
        "times": 0.5 / body.eps if body.eps else None,
        "cards": cards,
        "colour": any(one.images.shape[1] == 3 for one in body.pictures),
        "grey": any(one.images.shape[1] == 1 for one in body.pictures),
        "scale": ", ".join(f"rgb{rgb}" for rgb in (pixels.DARKER, pixels.EVEN, pixels.BRIGHTER)),
        "parts": [
            _part(desk, f"{anchor}_{stem}", datasets, drawn)
            for stem, (drawn, datasets) in zip(tables.slugs([" ".join(d) for d in parts.values()]), parts.items(), strict=True)
        ],
        "judged": [_placed(desk, drawing, f"{anchor}_{kind}") for kind, drawing in zip(_KINDS, camps(body), strict=True)],
    }


Drawn = tuple[Architecture, ...]  # one classical network, or circuits with the same wires


def _grouped(here: Sequence[Architecture]) -> tuple[Drawn, ...]:
    """Networks of one data set by diagram: circuits that differ in depth and scale share theirs."""
    groups: dict[object, list[Architecture]] = {}
    for one in here:
        wires = (one.shape, one.classes, one.qubits, one.pairs, one.padding) if isinstance(one, Circuit) else one
        groups.setdefault(wires, []).append(one)
    return tuple(tuple(group) for group in groups.values())


def _part(desk: Desk, stem: str, datasets: Sequence[str], drawn: tuple[Drawn, ...]) -> Context:
    figures = [_placed(desk, draw(group), f"{stem}_{slug}") for slug, group in zip(tables.slugs(one[0].network for one in drawn), drawn, strict=True)]
    one = drawn[0][0]
    names = [", ".join(each.network for each in group) for group in drawn]
    return {"datasets": datasets, "figures": list(zip(names, figures, strict=True)), "shape": one.shape, "classes": one.classes}


def draw(group: Drawn) -> Drawing:
    """The diagram of a classical network, or of circuits with the same wires."""
    first = group[0]
    return diagrams.circuit([one for one in group if isinstance(one, Circuit)]) if isinstance(first, Circuit) else diagrams.layered(first)


def _placed(desk: Desk, drawing: Drawing, stem: str) -> tuple[Markup, str]:
    file = f"{stem}.svg"
    desk.drawings[file] = drawing.as_file()
    return drawing.on_page(f"d{len(desk.drawings)}"), file


def camps(body: Overview) -> tuple[Drawing, Drawing]:
    """Attacks made on a classical network and on a quantum one, and their judges, named by the section's networks where it has them."""
    kinds = {one.network: "quantum" if isinstance(one, Circuit) else "classical" for _, one in body.architectures}
    named = {kind: [name for name, its in sorted(kinds.items(), key=lambda each: each[0] != body.source) if its == kind] for kind in _KINDS}
    return who_judges(named, "classical"), who_judges(named, "quantum")


def who_judges(named: Mapping[str, Sequence[str]], kind: str) -> Drawing:
    """Attacks made on the first network of a kind: judged by itself, another of its kind, and the first of the other kind."""
    other = _KINDS[1 - _KINDS.index(kind)]
    first, second = (*named[kind], *(f"{kind} network", "another network")[len(named[kind]) :])[:2]
    rival = next(iter(named[other]), f"{other} network")
    lines = [
        ("white box", first, kind, "the same network"),
        ("transfer", second, kind, f"another {kind} one"),
        ("defence" if kind == "classical" else "converse", rival, other, f"a {other} network"),
    ]
    return diagrams.judged(first, kind, lines)


def _card(desk: Desk, body: Overview, one: Pictures) -> Context:
    classes = desk.classes(one.dataset, 1 + max((*one.labels, one.label, one.before, one.after)))
    fooled = one.before == one.label != one.after
    return {
        "dataset": one.dataset,
        "about": desk.results.datasets.get(one.dataset),
        "images": [(pixels.image_url(image), classes[label]) for image, label in zip(one.images, one.labels, strict=True)],
        "clean": pixels.image_url(one.clean[0]),
        "change": pixels.perturbation_url(one.adversarial[0] - one.clean[0], body.eps),
        "attacked": pixels.image_url(one.adversarial[0]),
        "index": one.index,
        "true": classes[one.label],
        "before": classes[one.before],
        "after": classes[one.after],
        "fate": "fooled" if fooled else "not fooled" if one.before == one.label else "wrong already when clean",
    }
