"""The page: everything that the template shows, arranged, and the files written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from qarmor.report import figures, pixels, summary, tables
from qarmor.report.inputs import Curve, Gallery, Inputs, Probabilities, load_directory
from qarmor.report.tables import AttackName, Book
from qarmor.types import Row, Rows

Context = dict[str, Any]


def write(directory: Path) -> Path:
    """Turn the results in ``directory`` into ``directory/index.html``, one file that opens offline, and ``directory/figures/*.svg``.

    Args:
        directory: holds ``rows.json`` and ``provenance.json``, and perhaps ``history.json``, ``gallery.json`` with ``gallery.npz``, and
            ``probabilities.json`` with ``probabilities.npz``. What is missing of these is named on the page.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: the directory or a file that must be there is missing.
        ValueError: a file is not what it should be.
    """
    inputs = load_directory(Path(directory))
    page, drawings = render(inputs)
    folder = inputs.directory / "figures"
    folder.mkdir(exist_ok=True)
    for name, svg in drawings.items():
        (folder / name).write_text(svg, encoding="utf-8", newline="\n")
    path = inputs.directory / "index.html"
    path.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    return path


def _flags(rows: Rows) -> list[tuple[str, str, int, str]]:
    return [(f"F{i}", *entry) for i, entry in enumerate(tables.flag_counts(rows), start=1)]


def render(inputs: Inputs) -> tuple[str, dict[str, str]]:
    """The page as HTML, and the figures as SVG by file name."""
    drawings: dict[str, str] = {}
    books = _books(inputs)
    names = list(dict.fromkeys([*inputs.provenance.networks, *(name for book in books for name in book.networks), *_extra_names(inputs)]))
    looks = figures.styles(names)
    flags = _flags(inputs.rows)
    script, sheet = (resources.files("qarmor.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    views = {
        "training": _training(inputs.history, looks, drawings),
        "probabilities": _probabilities(inputs.probabilities, drawings),
        "gallery": _gallery(inputs.gallery),
    }
    context = views | {
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "sheet": Markup(sheet),
        "provenance": inputs.provenance,
        "summaries": [(book.dataset, summary.summary(book, inputs), summary.caution(book, inputs.provenance)) for book in books],
        "missing_parts": _missing(views),
        "books": [_book(book, number, looks, drawings) for number, book in enumerate(books)],
        "attacks": _attacks(books),
        "rows": _rows(inputs.rows, books),
        "flags": flags,
        "flag_numbers": {code: short for short, code, *_ in flags},
        "undescribed": [name for name in names if name not in inputs.provenance.networks],
        "figure_files": sorted(drawings),
    }
    return _environment().from_string(_template()).render(context), drawings


def _template() -> str:
    return resources.files("qarmor.report").joinpath("page.html.jinja").read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": tables.number, "interval": tables.interval, "duration": duration, "plain": plain}
    return environment


def duration(seconds: float | None) -> str:
    """A time in words, e.g. ``"1 min 14 s"``."""
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: object) -> str:
    """A JSON value as text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _books(inputs: Inputs) -> list[Book]:
    order = list(inputs.provenance.networks)
    return [Book(inputs.rows.where(dataset=name), order) for name in dict.fromkeys(row.dataset for row in inputs.rows)]


def _extra_names(inputs: Inputs) -> list[str]:
    return list(inputs.history or ())


def _missing(views: Mapping[str, Context | None]) -> list[tuple[str, str]]:
    """What the page lacks, and the file that would hold it."""
    parts = (
        ("training curves", "history.json", "training"),
        ("class probabilities of one image", "probabilities.json", "probabilities"),
        ("gallery of perturbations", "gallery.json", "gallery"),
    )
    return [(what, file) for what, file, view in parts if views[view] is None]


def _legend(looks: Mapping[str, figures.Style], prefix: str) -> list[tuple[Markup, str]]:
    return [(figures.swatch(style, f"line of {name}", f"{prefix}-{i}"), name) for i, (name, style) in enumerate(looks.items())]


def _book(book: Book, number: int, looks: Mapping[str, figures.Style], drawings: dict[str, str]) -> Context:
    """One data set: curves by attack, transfer tables."""
    end = f"-{tables.slug(book.dataset)}-{number}" if number else ""
    curves = []
    for attack in book.attacks:
        file = f"accuracy-{attack.slug}{end}.svg"
        drawings[file] = figures.accuracy_figure(book, attack, looks)
        plots = [
            figures.inline(figures.accuracy_panel(book, attack, source, looks), f"a{number}-{attack.slug}-{i}", _alt(book, attack, source))
            for i, source in enumerate(book.sources)
        ]
        legend = _legend({name: looks[name] for name in book.targets}, f"l{number}-{attack.slug}")
        curves.append(
            {
                "attack": attack,
                "legend": legend,
                "plots": plots,
                "file": file,
                "reading": _reading(book, attack),
                "sizes": _sizes(book, attack),
            }
        )
    return {
        "number": number,
        "book": book,
        "curves": curves,
        "panels": tables.panels(book),
        "eps": [eps for eps in book.eps if eps > 0],
        "clean": [(name, book.clean(name)) for name in book.targets],
        "scale": [tables.shade(step / 10)[0] for step in range(11)],
    }


def _sizes(book: Book, attack: AttackName) -> str:
    found = sorted({row.n for source in book.sources for target in book.targets for row in book.curve(attack, source, target)})
    return summary.listed([str(n) for n in found]) if found else "no"


def _alt(book: Book, attack: AttackName, source: str) -> str:
    ends = []
    for target in book.targets:
        if rows := book.curve(attack, source, target):
            ends.append(f"{target} " + ", ".join(f"{row.value:.2f} at {row.eps:g}" for row in rows))
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


def _training(history: Mapping[str, Curve] | None, looks: Mapping[str, figures.Style], drawings: dict[str, str]) -> Context | None:
    if not history:
        return None
    drawings["training.svg"] = figures.training_figure(history, looks)
    plots = []
    for what in ("loss", "accuracy"):
        ends = [f"{name} {values[-1]:.3f}" for name, curve in history.items() if (values := curve.loss if what == "loss" else curve.accuracy)]
        alt = f"Training {what} against steps; at the end: {', '.join(ends)}."
        plots.append(figures.inline(figures.training_panel(history, looks, what), f"t-{what}", alt))
    return {"plots": plots, "legend": _legend({name: looks[name] for name in history}, "tl")}


def _probabilities(data: Probabilities | None, drawings: dict[str, str]) -> Context | None:
    if not data or not data.networks:
        return None
    looks = figures.styles(figures.class_labels(data))
    drawings["probabilities.svg"] = figures.probability_figure(data, looks)
    true = data.classes[data.label]
    plots = []
    for i, (name, lines) in enumerate(data.networks.items()):
        values = ", ".join(f"{line[data.label]:.2f} at {eps:g}" for eps, line in zip(data.eps, lines, strict=True))
        alt = f"Class probabilities by {name} against eps; of the true class {true}: {values}."
        plots.append(figures.inline(figures.probability_panel(data, name, looks), f"p-{i}", alt))
    url = None if data.image is None else pixels.image_url(data.image)
    return {"data": data, "true": true, "plots": plots, "legend": _legend(looks, "pl"), "image": url}


def _gallery(gallery: Gallery | None) -> Context | None:
    if not gallery or not gallery.networks:
        return None
    blocks = []
    for name, network in gallery.networks.items():
        cards = [
            {
                "label": gallery.classes[label],
                "before": gallery.classes[before],
                "after": gallery.classes[after],
                "fooled": before == label != after,
                "clean": pixels.image_url(network.clean[i]),
                "perturbation": pixels.perturbation_url(network.perturbation[i], gallery.eps),
                "adversarial": pixels.image_url(network.adversarial[i]),
            }
            for i, (label, before, after) in enumerate(zip(network.labels, network.clean_predictions, network.adversarial_predictions, strict=True))
        ]
        blocks.append({"name": name, "share": network.low_frequency_share, "cards": cards})
    colour = any(network.perturbation.shape[1] == 3 for network in gallery.networks.values())
    scale = ", ".join(f"rgb{rgb}" for rgb in (pixels.DARKER, pixels.EVEN, pixels.BRIGHTER))
    return {"gallery": gallery, "blocks": blocks, "colour": colour, "scale": scale}


def _attacks(books: list[Book]) -> list[tuple[str, str]]:
    found = {attack.label: attack for book in books for attack in book.attacks}
    return [(label, ", ".join(f"{name} {plain(value)}" for name, value in attack.parameters.items()) or "none") for label, attack in found.items()]


def _rows(rows: Rows, books: list[Book]) -> Context:
    labels = {(book.dataset, attack.key): attack.label for book in books for attack in book.attacks}

    def label(row: Row) -> str:
        return labels[(row.dataset, tables.attack_key(row))] if row.source else "none (clean)"

    return {
        "shown": [(row, label(row)) for row in rows[: tables.MAX_ROWS]],
        "total": len(rows),
        "csv": tables.data_url(tables.as_csv(rows), "text/csv"),
        "json": tables.data_url(tables.as_json(rows), "application/json"),
        "seeds": sorted({row.seed for row in rows if row.source}),
        "versions": sorted({row.version for row in rows}),
    }
