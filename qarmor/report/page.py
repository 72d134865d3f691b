"""The page: everything that the template shows, arranged, and the files written."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from qarmor.report import claims, figures, summary, tables, views
from qarmor.report.desk import Context, Desk
from qarmor.report.inputs import CLASSIFIES, Results, dataset_of, load_directory
from qarmor.report.tables import Book, attack_key
from qarmor.types import Row

_OWN_IDS = ("main", "claims", "summary", "networks", "flags", "again", "contents")


def write(directory: Path) -> Path:
    """Turn the results in ``directory`` into ``index.html``, which opens offline, ``figures/*.svg`` and ``rows.csv``, all beside them.

    Args:
        directory: holds ``rows.json``, ``results.json``, the arrays that it names, and perhaps ``claims.json``.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: the directory or a file that must be there is missing.
        ValueError: a file is not what it should be.
    """
    results = load_directory(Path(directory))
    page, drawings = render(results)
    folder = results.directory / "figures"
    folder.mkdir(exist_ok=True)
    for name, text in drawings.items():
        (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="\n")
    (results.directory / "rows.csv").write_text(tables.as_csv(results.rows), encoding="utf-8", errors="replace", newline="")
    path = results.directory / "index.html"
    path.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    return path


def render(results: Results) -> tuple[str, dict[str, str]]:
    """The page as HTML, and the figures as SVG by file name."""
    desk = Desk(results, figures.network_styles(results.network_names))
    anchors = tables.slugs((section.name for section in results.sections), _OWN_IDS)
    sections = [views.section(desk, about, anchor) for about, anchor in zip(results.sections, anchors, strict=True)]
    flags = [(f"F{i}", *entry) for i, entry in enumerate(tables.flag_counts(results.rows), start=1)]
    files = ["page.js"] + ["gallery.js"] * any(section["shape"] == "gallery" for section in sections)
    script, sheet = "\n".join(map(_file, files)), _file("page.css")
    context = {
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "sheet": Markup(sheet),
        "results": results,
        "claims": _claims(results),
        "summaries": [] if results.claims else _summaries(results),
        "networks": _networks(results),
        "sections": sections,
        "flags": flags,
        "flag_numbers": {code: short for short, code, *_ in flags},
        "flagged": _flagged(results),
        "versions": sorted({row.version for row in results.rows}),
        "attack_seeds": sorted({row.seed for row in results.rows if row.source}),
        "figure_files": sorted(desk.drawings),
    }
    return _environment().get_template("page.html.jinja").render(context), desk.drawings


def _file(name: str) -> str:
    return resources.files("qarmor.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(lambda name: _file(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for look_up in (tables.number, tables.limits, tables.interval, tables.quantity, tables.duration, tables.plain, tables.listed):
        environment.filters[look_up.__name__] = look_up
    environment.globals["dash"] = tables.DASH
    environment.globals["symbols"] = claims.SYMBOLS
    return environment


def _claims(results: Results) -> Context | None:
    if not results.claims:
        return None
    found = claims.matrix(results.claims)
    return {"matrix": found, "summary": claims.summary(found), "counts": claims.counts(found)}


def _summaries(results: Results) -> list[tuple[str, list[str], list[str]]]:
    """What the rows say of each data set, where no claims do; networks under noise have their own sections."""
    by_dataset: dict[str, list[Row]] = {}
    for row in results.rows:
        if row.metric in CLASSIFIES and not {row.source, row.target} & results.noisy:
            by_dataset.setdefault(dataset_of(row), []).append(row)
    books = [Book(name, rows, results.network_names, results.attacks.values()) for name, rows in by_dataset.items()]
    return [(book.dataset, summary.summary(book, results), summary.caution(book, results)) for book in books]


def _networks(results: Results) -> list[Context]:
    """The networks of each data set, those under noise only counted; ``seeds`` where they differ in seed."""
    found = []
    for name in dict.fromkeys([*results.datasets, *(network.dataset for network in results.networks)]):
        every = [network for network in results.networks if network.dataset == name]
        here = [network for network in every if network.name not in results.noisy]
        seeds = len({network.seed for network in here}) > 1
        part = {"dataset": name, "networks": here, "noisy": len(every) - len(here), "about": results.datasets.get(name)}
        found.append(part | {"majority": results.majority(name), "seeds": seeds})
    return found


def _flagged(results: Results) -> list[tuple[str, str, str, str, str]]:
    """What the flags stand on, as lines of flag, data set, networks, attack and the eps values."""
    attacks = {attack_key(info.name, info.parameters): info.label for info in results.attacks.values()}
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for row in results.rows:
        for code in row.flags:
            label = attacks.get(attack_key(row.attack, row.parameters), row.attack) if row.source else "none (clean)"
            pair = f"{row.source} → {row.target}" if row.source else row.target
            eps = "varies" if row.eps is None else f"{row.eps:g}"
            places = found.setdefault((code, dataset_of(row), pair, label), [])
            if eps not in places:
                places.append(eps)
    order = [code for code, *_ in tables.flag_counts(results.rows)]
    return [(*key, ", ".join(eps)) for key, eps in sorted(found.items(), key=lambda entry: (order.index(entry[0][0]), entry[0]))]
