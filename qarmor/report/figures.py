"""Figures as SVG text: drawn with matplotlib objects of their own, no pyplot, the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from qarmor.report.inputs import Curve, Probabilities
from qarmor.report.tables import AttackName, Book

INK, GRID, PAPER = "#1f2328", "#d9dee5", "#fefefe"
"""Colours of text and axes, of the grid, and of the ground; on the page they follow its theme."""

EPS_LABEL = "eps (l_inf, pixel range [0, 1])"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b35c94", "#a07800", "#737983")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.6)), (0, (1.2, 1.3)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "X", "P")

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "qarmor",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.7,
    "grid.color": GRID,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.06,
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK)


@dataclass(frozen=True)
class Style:
    """How one name is drawn in every figure: colour, dash and marker all differ, for grey prints and colour-blind readers."""

    colour: str
    dash: Any
    marker: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, by its place."""
    return {
        name: Style(_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def _settings() -> Iterator[None]:
    """Our settings, whatever the user's matplotlibrc says; a glyph that the layout's font lacks is left to the reader's fonts."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    with _settings():
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue().decode()


def short(name: str, limit: int = 30) -> str:
    """``name``, cut to ``limit`` characters that XML allows; never with an underscore in front, with which matplotlib hides a label."""
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    cut = name if len(name) <= limit else f"{name[: limit - 1]}…"
    return f" {cut}" if cut.startswith("_") else cut


def inline(svg: str, prefix: str, label: str) -> Markup:
    """An SVG file as an element of the page: ids made unique by ``prefix``, colours that follow the theme, ``label`` for those who don't see it."""
    root = ET.fromstring(svg)
    for child in list(root):
        if _local(child.tag) == "metadata" or any(_local(part.tag) == "style" for part in child):  # the style would reach the whole page
            root.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _themed(_local(name), value, prefix) for name, value in element.attrib.items()}
        if element.tag not in ("text", "tspan"):
            element.text = element.tail = None
    _drop_ids(root, prefix)
    title = ET.Element("title", {"id": f"{prefix}-title"})
    title.text = "".join(letter if letter.isprintable() else "�" for letter in label)
    root.insert(0, title)
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "plot", "role": "img", "aria-labelledby": f"{prefix}-title"}
    return Markup(ET.tostring(root, encoding="unicode"))  # ElementTree has escaped every text and attribute


def _drop_ids(root: ET.Element, prefix: str) -> None:
    """Leave only the ids that something refers to."""
    values = " ".join(value for element in root.iter() for name, value in element.attrib.items() if name in ("href", "clip-path"))
    used = set(re.findall(rf"#({re.escape(prefix)}[\w.-]*)", values))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _themed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return value.replace("#", f"#{prefix}-", 1)
    if name == "clip-path":
        return value.replace("url(#", f"url(#{prefix}-", 1)
    if name == "d":
        return " ".join(value.split())
    if name == "style":
        value = value.replace(INK, "currentColor").replace(GRID, "var(--grid)").replace(PAPER, "var(--card)")
        return re.sub(r"font-family: [^;]*", "font-family: inherit", value)
    return value


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style, heavy: bool = False) -> Line2D:
    (line,) = axes.plot(
        x,
        y,
        color=style.colour,
        linestyle=style.dash,
        marker=style.marker,
        linewidth=2.6 if heavy else 1.4,
        markersize=6 if heavy else 4.5,
        markeredgecolor=PAPER,
        markeredgewidth=0.6,
        zorder=4 if heavy else 3,
    )
    return line


def _legend(figure: Figure, names: Mapping[str, Style], columns: int, title: str | None = None) -> None:
    handles = [Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker, linewidth=1.6, markersize=5) for s in names.values()]
    labels = [short(name) for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.4, title=title)


@lru_cache(maxsize=64)
def _sample(style: Style) -> str:
    def draw(figure: Figure) -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.axis("off")
        axes.plot(
            [0.06, 0.5, 0.94], [0.5] * 3, color=style.colour, linestyle=style.dash, marker=style.marker, markevery=[1], linewidth=1.8, markersize=6
        )

    return _svg(draw, 0.55, 0.17)


def swatch(style: Style, label: str, prefix: str) -> Markup:
    """A piece of a line, for a legend written in HTML."""
    return inline(_sample(style), prefix, label)


def _rate_axes(axes: Axes, label: str, across: str) -> None:
    axes.set(xlabel=across, ylabel=label, ylim=(0, 1), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.margins(x=0.03)
    for side in ("bottom", "left"):
        axes.spines[side].set_zorder(2)


def _accuracy_axes(axes: Axes, book: Book, attack: AttackName, source: str, looks: Mapping[str, Style]) -> None:
    if book.majority is not None:
        axes.axhline(book.majority, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    for target in book.targets:
        rows = book.curve(attack, source, target)
        if not rows:
            continue
        eps = [row.eps for row in rows if row.eps is not None]
        axes.fill_between(eps, [row.low for row in rows], [row.high for row in rows], color=looks[target].colour, alpha=0.14, linewidth=0)
        _line(axes, eps, [row.value for row in rows], looks[target], target == source).set_clip_on(False)
    _rate_axes(axes, "accuracy", EPS_LABEL)
    axes.set_title(f"made on {short(source, 24)}", loc="left")


def accuracy_panel(book: Book, attack: AttackName, source: str, looks: Mapping[str, Style]) -> str:
    """Accuracy of all targets against eps under ``attack`` made on ``source``; no legend."""
    return _svg(lambda figure: _accuracy_axes(figure.subplots(), book, attack, source, looks), 3.3, 2.7)


def accuracy_figure(book: Book, attack: AttackName, looks: Mapping[str, Style]) -> str:
    """All sources side by side with one legend, to be published on its own."""
    columns = min(3, len(book.sources))
    lines = -(-len(book.sources) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(book.sources) :]:
            axes.axis("off")
        for source, axes in zip(book.sources, grid.flat, strict=False):
            _accuracy_axes(axes, book, attack, source, looks)
            axes.label_outer()
        for column in range(columns):
            last = (len(book.sources) - 1 - column) // columns
            grid[last][column].tick_params(labelbottom=True)
            grid[last][column].set_xlabel(EPS_LABEL)
        text = f"{short(attack.label, 60)} on {short(book.dataset, 40)}; heavy: white box; bands: Wilson 95 % intervals; dotted: majority class"
        _legend(figure, {name: looks[name] for name in book.targets}, min(2 * columns, 5), text)

    return _svg(draw, 3.1 * columns + 0.4, 2.5 * lines + 0.9)


def _training_axes(axes: Axes, history: Mapping[str, Curve], looks: Mapping[str, Style], what: str) -> None:
    for name, curve in history.items():
        steps, values = (curve.steps, curve.loss) if what == "loss" else (curve.accuracy_steps, curve.accuracy)
        line = _line(axes, steps, values, looks[name])
        line.set_markevery(max(1, len(steps) // 6))
    if what == "loss":
        axes.set(xlabel="step", ylabel="training loss")
        if all(value > 0 for curve in history.values() for value in curve.loss):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.03)
    else:
        _rate_axes(axes, "accuracy", "step")


def training_panel(history: Mapping[str, Curve], looks: Mapping[str, Style], what: str) -> str:
    """``what`` ("loss" or "accuracy") against training steps; no legend."""
    return _svg(lambda figure: _training_axes(figure.subplots(), history, looks, what), 4.4, 2.9)


def training_figure(history: Mapping[str, Curve], looks: Mapping[str, Style]) -> str:
    """Loss and accuracy side by side with one legend, to be published on its own."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _training_axes(left, history, looks, "loss")
        _training_axes(right, history, looks, "accuracy")
        _legend(figure, {name: looks[name] for name in history}, 5)

    return _svg(draw, 7.6, 3.4)


def _probability_axes(axes: Axes, data: Probabilities, name: str, looks: Mapping[str, Style]) -> None:
    for number, label in enumerate(class_labels(data)):
        values = [line[number] for line in data.networks[name]]
        _line(axes, data.eps, values, looks[label], number == data.label).set_clip_on(False)
    _rate_axes(axes, "class probability", EPS_LABEL)
    axes.set_title(short(name, 32), loc="left")


def class_labels(data: Probabilities) -> list[str]:
    """A label a class, each different, the true one said to be so."""
    seen = [f"{name} ({number})" if data.classes.count(name) > 1 else name for number, name in enumerate(data.classes)]
    return [f"{name} (true class)" if number == data.label else name for number, name in enumerate(seen)]


def probability_panel(data: Probabilities, name: str, looks: Mapping[str, Style]) -> str:
    """Class probabilities that network ``name`` gives one image, against eps; no legend."""
    return _svg(lambda figure: _probability_axes(figure.subplots(), data, name, looks), 3.3, 2.7)


def probability_figure(data: Probabilities, looks: Mapping[str, Style]) -> str:
    """All networks side by side with one legend, to be published on its own."""
    columns = min(3, len(data.networks))
    lines = -(-len(data.networks) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(data.networks) :]:
            axes.axis("off")
        for name, axes in zip(data.networks, grid.flat, strict=False):
            _probability_axes(axes, data, name, looks)
        _legend(figure, looks, min(2 * columns, 5))

    return _svg(draw, 3.1 * columns + 0.4, 2.5 * lines + 1.2)
