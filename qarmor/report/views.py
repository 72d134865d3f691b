"""What the template shows of each kind of section: figures drawn, tables looked up, pictures encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qarmor.report import detection_view, figures, frontier, gallery_view, hardware_views, overview_view, pixels, repeats_view, tables
from qarmor.report.desk import Context, Desk, book_of, parts_of, rows_of
from qarmor.report.detection import Detection
from qarmor.report.gallery import Attempts
from qarmor.report.hardware import Certificates, FiniteShots, Noisy
from qarmor.report.inputs import Network, base_name
from qarmor.report.overview import Overview
from qarmor.report.parts import Attacked, Gallery, OneImage, PaperValue, Perturbations, Preparation, Probabilities, Resources, Section, Training
from qarmor.report.repeats import Repeats
from qarmor.report.tables import AttackName, Book


def section(desk: Desk, about: Section, anchor: str) -> Context:
    """A section, whatever its kind: ``shape`` names the template's macro, ``view`` holds what it shows."""
    shape, view = _shown(desk, about, anchor)
    return {"about": about, "anchor": anchor, "shape": shape, "view": view, "paper": [] if shape in ("clean", "resources") else about.paper}


def _shown(desk: Desk, about: Section, anchor: str) -> tuple[str, Context]:
    match about.body:
        case Attacked() as body if about.kind == "transfer":
            return "transfer", _transfer(desk, about, body, anchor)
        case Attacked() as body if about.kind == "white-box":
            return "white_box", frontier.white_box(desk, about, body, anchor)
        case Attacked() as body if about.kind == "frontier":
            return "frontier", frontier.frontier(desk, about, body, anchor)
        case Attacked() as body:
            return "clean", _clean(desk, about, body, anchor)
        case Repeats() as body:
            return "repeats", repeats_view.repeats(desk, body, anchor)
        case Training() as body:
            return "training", _training(desk, about, body, anchor)
        case Resources() as body:
            return "resources", _resources(about, body)
        case Perturbations() as body:
            return "perturbations", _perturbations(desk, body)
        case Probabilities() as body:
            return "probabilities", _probabilities(desk, body, anchor)
        case Attempts() as body:
            return "gallery", gallery_view.gallery(desk, body)
        case Noisy() as body:
            return "noise", hardware_views.noise(desk, body, anchor)
        case FiniteShots() as body:
            return "shots", hardware_views.shots(desk, body, anchor)
        case Certificates() as body:
            return "certificates", hardware_views.certificates(desk, body, anchor)
        case Detection() as body:
            return "detection", detection_view.detection(desk, body, anchor)
        case Overview() as body:
            return "overview", overview_view.overview(desk, body, anchor)
    return "missing", {}


def _transfer(desk: Desk, about: Section, body: Attacked, anchor: str) -> Context:
    found, silent = parts_of(desk, about, body)
    parts = []
    for stem, (title, (book, first)) in zip(tables.slugs(found), found.items(), strict=True):
        curves = [_curve(desk, book, attack, f"{anchor}_{stem}_{attack.slug}", first) for attack in book.attacks]
        parts.append({"book": book, "title": title, "curves": curves, "id": f"{anchor}_{stem}"})
    done = {book.dataset for book, _ in found.values()}
    scale = [tables.shade(step / 10)[0] for step in range(11)]
    return {"parts": parts, "absent": [name for name in about.datasets if name not in done], "silent": silent, "scale": scale}


def _curve(desk: Desk, book: Book, attack: AttackName, stem: str, inline: bool) -> Context:
    """One data set, seed and attack: a panel a source, on the page if ``inline``, else in its file alone, and the tables."""
    panels = tables.panels(book, attack)
    sources = [name for name in book.sources if any(book.curve(attack, name, target) for target in book.targets)]
    sheet = figures.accuracy_sheet(book, attack, sources, desk.looks)
    drawn = desk.place(sheet, stem, [_alt(book, attack, source) for source in sources], inline)
    eps = min((panel.eps for panel in panels), key=lambda eps: abs(eps - tables.REFERENCE_EPS), default=None)
    legend = desk.legend(book.targets) if inline else []
    return drawn | {"attack": attack, "legend": legend, "reading": _reading(book, attack), "panels": panels, "reference": eps}


def _alt(book: Book, attack: AttackName, source: str) -> str:
    ends = []
    for target in book.targets:
        if rows := book.curve(attack, source, target):
            shown = dict.fromkeys([0, *(i for i, row in enumerate(rows) if row.eps == book.reference_eps), len(rows) - 1])
            ends.append(f"{target} " + ", ".join(f"{rows[i].value:.2f} at {rows[i].eps:g}" for i in shown))
    return f"Accuracy against eps under {attack.label} made on {source}: {'; '.join(ends) or 'not measured'}."


def _reading(book: Book, attack: AttackName) -> str:
    """One sentence that reads a point off the figure."""
    eps = book.reference_eps
    for source in book.sources:
        for target in book.targets:
            if eps is None or source == target:
                continue
            own, other = book.find(attack, source, source, eps), book.find(attack, source, target, eps)
            if own and other:
                leaves = f"leaves {source} itself at {own.value:.2f} and {target} at {other.value:.2f}"
                return f"Example: at eps {eps:g} the attack made on {source} {leaves}."
    return ""


def _clean(desk: Desk, about: Section, body: Attacked, anchor: str) -> Context:
    rows, silent = rows_of(desk, body)
    books = {name: book_of(desk, body, name, here) for name, here in rows.items()}
    names = list(dict.fromkeys([*about.datasets, *books, *(value.dataset for value in about.paper if value.dataset)]))
    parts = []
    for stem, name in zip(tables.slugs(names), names, strict=True):
        book = books.get(name)
        paper = [value for value in about.paper if value.dataset in ("", name)]
        lines = tables.clean_lines(book, list(dict.fromkeys([*body.targets, *desk.results.network_names])), paper)
        majority = desk.results.majority(name)
        majority = book.majority if majority is None and book else majority
        part: Context = {"dataset": name, "lines": lines, "majority": majority, "paper": any(line.paper for line in lines)}
        if lines:
            ours = "; ".join(f"{line.network} {line.row.value:.3f}" for line in lines if line.row) or "none"
            label = f"Accuracy on clean images of {name}; ours: {ours}. The table below has all numbers."
            part |= desk.place(figures.clean_sheet(name, lines, majority), f"{anchor}_{stem}", [label])
        parts.append(part)
    return {"parts": parts, "silent": silent}


def _training(desk: Desk, about: Section, body: Training, anchor: str) -> Context:
    wanted = [network for network in desk.results.networks if base_name(network.name) in body.networks or network.name in body.networks]
    names = about.datasets or list(dict.fromkeys(network.dataset for network in wanted))
    parts = []
    for stem, name in zip(tables.slugs(names), names, strict=True):
        here = {_seeded(network, wanted): network for network in wanted if network.dataset == name}
        history = {label: network.history for label, network in here.items() if network.history}
        part: Context = {"dataset": name, "lacking": [label for label in here if label not in history], "plots": []}
        if history:
            shared = {desk.looks[label] for label in history if label in desk.looks}
            looks = desk.looks if len(shared) == len(history) else figures.styles(list(history))
            labels = []
            for what in ("loss", "accuracy"):
                ends = [f"{label} {values[-1]:.3f}" for label, c in history.items() if (values := c.loss if what == "loss" else c.accuracy)]
                labels.append(f"Training {what} on {name} against steps; at the end: {', '.join(ends) or 'nothing'}.")
            part |= desk.place(figures.training_sheet(name, history, looks), f"{anchor}_{stem}", labels)
            part["legend"] = desk.legend(list(history), looks)
        parts.append(part)
    known = {name for network in wanted for name in (network.name, base_name(network.name))}
    return {"parts": parts, "unknown": [name for name in body.networks if name not in known]}


def _seeded(network: Network, wanted: Sequence[Network]) -> str:
    """The network's name, with its seed where there are several of one name on a data set."""
    siblings = [other for other in wanted if (other.name, other.dataset) == (network.name, network.dataset)]
    return network.name if len(siblings) == 1 else f"{network.name}, seed {network.seed}"


_HEADINGS: Mapping[str, str] = {
    "gates_real": "gates with encoding, real amplitudes",
    "gates_complex": "gates with encoding, complex amplitudes",
    "gates_per_layer": "gates a layer",
    "gates": "gates, without encoding",
    "depth": "depth, without encoding",
    "shots": "shots a prediction (median image, upper bound)",
    "shots_median": "shots a prediction (median image, upper bound)",
}


def _resources(about: Section, body: Resources) -> Context:
    """A line a network; a cell holds our value and the paper's words for it."""
    columns = dict.fromkeys(name for entry in body.entries for name, value in entry.values.items() if value is not None)
    if any(entry.gates for entry in body.entries):
        columns["gates"] = None
    columns |= dict.fromkeys(f"gates_{way.amplitudes}" for entry in body.entries for way in entry.preparations)
    columns |= dict.fromkeys(value.quantity for value in about.paper)
    lines, used = [], set[int]()
    for entry in body.entries:
        ours: dict[str, str] = {name: tables.quantity(value) for name, value in entry.values.items()}
        if entry.gates:
            ours["gates"] = _gates(entry.gates)
        details = {f"gates_{way.amplitudes}": _encoding(way) for way in entry.preparations}
        said = [value for value in about.paper if value.network == entry.network and value.dataset in ("", entry.dataset)]
        used |= {id(value) for value in said}
        lines.append({"dataset": entry.dataset, "network": entry.network, "cells": [_resource_cell(ours, said, name, details) for name in columns]})
    rest = [value for value in about.paper if id(value) not in used]
    for dataset, network in dict.fromkeys((value.dataset, value.network) for value in rest):
        said = [value for value in rest if (value.dataset, value.network) == (dataset, network)]
        lines.append({"dataset": dataset or "any", "network": network or "any", "cells": [_resource_cell({}, said, name, {}) for name in columns]})
    return {"columns": [_HEADINGS.get(name, name.replace("_", " ")) for name in columns], "lines": lines}


def _encoding(way: Preparation) -> str:
    return f"encoding {_gates(way.gates)}" + ("" if way.depth is None else f"; depth {way.depth:,}")


def _gates(gates: Mapping[str, int]) -> str:
    return f"{sum(gates.values()):,}: " + ", ".join(f"{count:,} {gate}" for gate, count in gates.items())


def _resource_cell(ours: Mapping[str, str], said: Sequence[PaperValue], name: str, details: Mapping[str, str]) -> tuple[str, str, str]:
    """Ours, what it is made of, and the paper's."""
    return ours.get(name, tables.DASH), details.get(name, ""), "; ".join(tables.quantity(value.value) for value in said if value.quantity == name)


def _perturbations(desk: Desk, body: Perturbations) -> Context:
    """By data set: a table of low-frequency shares, then cards by attack and source."""
    parts = []
    for name in dict.fromkeys(entry.dataset for entry in body.entries):
        here = [entry for entry in body.entries if entry.dataset == name]
        kinds = list(dict.fromkeys((entry.attack, entry.eps) for entry in here))
        by_pair = {(entry.source, entry.attack, entry.eps): entry for entry in here}
        shares = [(source, [by_pair.get((source, *kind)) for kind in kinds]) for source in dict.fromkeys(entry.source for entry in here)]
        groups = [
            {"title": title, "blocks": [_cards(desk, entry) for entry in here if (entry.attack, entry.eps) == kind], "eps": kind[1]}
            for kind in kinds
            for title in [f"{desk.results.attack_label(kind[0])}, eps {kind[1]:g}"]
        ]
        colour = any(entry.pictures is not None and entry.pictures.clean.shape[1] == 3 for entry in here)
        shown = any(entry.pictures is not None for entry in here)
        parts.append(
            {"dataset": name, "shares": shares, "titles": [group["title"] for group in groups], "groups": groups, "colour": colour, "shown": shown}
        )
    return {"parts": parts, "scale": ", ".join(f"rgb{rgb}" for rgb in (pixels.DARKER, pixels.EVEN, pixels.BRIGHTER))}


def _cards(desk: Desk, entry: Gallery) -> Context:
    classes = desk.classes(entry.dataset, 1 + max((*entry.labels, *entry.clean_predictions, *entry.adversarial_predictions), default=0))
    cards = []
    for i, (label, before, after) in enumerate(zip(entry.labels, entry.clean_predictions, entry.adversarial_predictions, strict=True)):
        fate = "fooled" if before == label != after else ("not fooled" if label == after else "wrong already when clean")
        card = {"label": classes[label], "before": classes[before], "after": classes[after], "fate": fate}
        if entry.pictures is not None:
            card["clean"] = pixels.image_url(entry.pictures.clean[i])
            card["perturbation"] = pixels.perturbation_url(entry.pictures.perturbation[i], entry.eps)
            card["adversarial"] = pixels.image_url(entry.pictures.adversarial[i])
        cards.append(card)
    return {"entry": entry, "cards": cards if entry.pictures is not None else []}


def _probabilities(desk: Desk, body: Probabilities, anchor: str) -> Context:
    return {"entries": [_one_image(desk, entry, f"{anchor}_{number}") for number, entry in enumerate(body.entries, start=1) if entry.networks]}


def _one_image(desk: Desk, entry: OneImage, stem: str) -> Context:
    classes = desk.classes(entry.dataset, len(next(iter(entry.networks.values()))[0]) if entry.eps else entry.label + 1)
    looks, true = figures.styles(figures.class_labels(entry, classes)), classes[entry.label]
    labels = []
    for name, lines in entry.networks.items():
        values = ", ".join(f"{line[entry.label]:.2f} at {eps:g}" for eps, line in zip(entry.eps, lines, strict=True))
        labels.append(f"Class probabilities by {name} against eps; of the true class {true}: {values}.")
    return desk.place(figures.probability_sheet(entry, classes), stem, labels) | {
        "entry": entry,
        "true": true,
        "attack": desk.results.attack_label(entry.attack),
        "legend": desk.legend(list(looks), looks),
        "image": None if entry.image is None else pixels.image_url(entry.image),
    }
