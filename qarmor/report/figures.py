"""What is drawn: panels of one size in a grid, one legend below, each name in one style everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from qarmor.report.inputs import Curve, base_name
from qarmor.report.parts import OneImage
from qarmor.report.svg import INK, PAPER, Sheet, draw, panels, short
from qarmor.report.tables import AttackName, Book, CleanLine
from qarmor.types import Row

T = TypeVar("T")

EPS_LABEL = "eps (l_inf, pixel range [0, 1])"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b35c94", "#a07800", "#737983")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.6)), (0, (1.2, 1.3)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "X", "P")
_PANEL = (3.3, 2.6)
_WIDE = (4.5, 2.9)


@dataclass(frozen=True)
class Style:
    """How one name is drawn in every figure: colour, dash and marker all differ, for grey prints and colour-blind readers."""

    number: int
    colour: str
    dash: Any
    marker: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, by its place."""
    return {
        name: Style(i, _COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(dict.fromkeys(names))
    }


def network_styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each network; those that differ in seed alone share one."""
    found = styles([base_name(name) for name in names])
    return {name: found[base_name(name)] for name in names}


def sheet_of(
    paints: Sequence[Callable[[Axes], None]],
    looks: Mapping[str, Style],
    title: str,
    size: tuple[float, float] = _PANEL,
    left: float = 0.58,
) -> Sheet:
    """Panels of ``size`` inches, at most three a line, and below them the legend under ``title``; ``left`` inches for the words at an axis."""
    width, height = size
    columns = min(3, len(paints))
    lines = -(-len(paints) // columns)
    longest = max((len(short(name)) for name in looks), default=0)
    across = max(1, int(columns * width / (0.75 + 0.085 * longest)))
    below = 0.35 + 0.19 * -(-len(looks) // across)
    whole = (columns * width, lines * height + below)

    def paint(figure: Figure) -> None:
        for i, one in enumerate(paints):
            line, column = divmod(i, columns)
            at = ((column * width + left) / whole[0], ((lines - 1 - line) * height + below + 0.48) / whole[1])
            axes = figure.add_axes((*at, (width - left - 0.14) / whole[0], (height - 0.48 - 0.3) / whole[1]))
            axes.set_gid(f"panel-{i}")
            one(axes)
        handles = [Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker, linewidth=1.6, markersize=5) for s in looks.values()]
        if handles:
            figure.legend(handles, [short(name) for name in looks], loc="lower center", ncols=across, handlelength=3.4)
        figure.text(0.5, (below - 0.12) / whole[1], title, ha="center", va="center", fontsize=8.5)

    boxes = tuple((72 * width * (i % columns), 72 * height * (i // columns), 72 * width, 72 * height) for i in range(len(paints)))
    return Sheet(draw(paint, *whole), boxes)


@lru_cache(maxsize=256)
def _sample(style: Style) -> Sheet:
    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_gid("panel-0")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.axis("off")
        axes.plot([0.06, 0.5, 0.94], [0.5] * 3, color=style.colour, linestyle=style.dash, marker=style.marker, markevery=[1], markersize=6)

    return Sheet(draw(paint, 0.55, 0.17), ((0.0, 0.0, 39.6, 12.24),))


def swatch(style: Style, label: str, prefix: str) -> Markup:
    """A piece of a line, for a legend written in HTML."""
    return panels(_sample(style), prefix, [label])[0]


def draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style, heavy: bool = False) -> Line2D:
    """One name's line, which the page's legend finds by its number."""
    (drawn,) = axes.plot(
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
        gid=f"line-{style.number}",
    )
    return drawn


def rate_axes(axes: Axes, label: str, across: str) -> None:
    """A share, from 0 to 1, against something."""
    axes.set(xlabel=across, ylabel=label, ylim=(0, 1), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.margins(x=0.03)
    for side in ("bottom", "left"):
        axes.spines[side].set_zorder(2)


def accuracy_sheet(book: Book, attack: AttackName, sources: Sequence[str], looks: Mapping[str, Style]) -> Sheet:
    """Accuracy of all targets against eps under ``attack``, one panel a network that it was made on."""

    def paint(axes: Axes, source: str) -> None:
        dotted(axes, book.majority)
        for target in book.targets:
            rows = book.curve(attack, source, target)
            if not rows:
                continue
            _curve(axes, rows, looks[target], target == source)
        rate_axes(axes, "accuracy", EPS_LABEL)
        axes.set_title(f"made on {short(source, 24)}", loc="left")

    title = f"{short(attack.label, 50)} on {short(book.dataset, 30)}; heavy: white box; bands: Wilson 95 %; dotted: majority class"
    return sheet_of([bound(paint, source) for source in sources], {name: looks[name] for name in book.targets}, title)


def direct_sheet(book: Book, attack: AttackName, groups: Mapping[str, Sequence[str]], looks: Mapping[str, Style]) -> Sheet:
    """Accuracy against eps under ``attack`` on each network itself, one panel a group of networks."""

    def paint(axes: Axes, group: str) -> None:
        dotted(axes, book.majority)
        for name in groups[group]:
            _curve(axes, book.curve(attack, name, name), looks[name], False)
        rate_axes(axes, "accuracy", EPS_LABEL)
        axes.set_title(group, loc="left")

    shown = {name: looks[name] for names in groups.values() for name in names}
    title = f"{short(attack.label, 40)} on {short(book.dataset, 30)}, each network attacked itself; bands: Wilson 95 %; dotted: majority class"
    return sheet_of([bound(paint, group) for group in groups], shown, title)


def dotted(axes: Axes, value: float | None) -> None:
    """A dotted level, of the majority class for example."""
    if value is not None:
        axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=1)


def _curve(axes: Axes, rows: Sequence[Row], style: Style, heavy: bool) -> None:
    eps = [row.eps or 0.0 for row in rows]
    band(axes, eps, [(row.low, row.high) for row in rows], style)
    draw_line(axes, eps, [row.value for row in rows], style, heavy).set_clip_on(False)


def band(axes: Axes, x: Sequence[float], limits: Sequence[tuple[float, float]], style: Style) -> None:
    """The intervals of a line."""
    low, high = [low for low, _ in limits], [high for _, high in limits]
    axes.fill_between(x, low, high, color=style.colour, alpha=0.12, linewidth=0, gid=f"line-{style.number}")


def bound(paint: Callable[[Axes, T], None], name: T) -> Callable[[Axes], None]:
    """``paint`` of one thing."""
    return lambda axes: paint(axes, name)


def training_sheet(dataset: str, history: Mapping[str, Curve], looks: Mapping[str, Style]) -> Sheet:
    """Loss and accuracy of one data set's networks against steps, side by side."""

    def loss(axes: Axes) -> None:
        for name, curve in history.items():
            draw_line(axes, curve.steps, curve.loss, looks[name]).set_markevery(max(1, len(curve.steps) // 6))
        axes.set(xlabel="step", ylabel="loss")
        axes.set_title("training loss", loc="left")
        axes.margins(x=0.03)
        values = [value for curve in history.values() for value in curve.loss]
        if values and all(value > 0 for value in values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 200 * min(values) else (1,)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())

    def accuracy(axes: Axes) -> None:
        for name, curve in history.items():
            draw_line(axes, curve.accuracy_steps, curve.accuracy, looks[name]).set_markevery(max(1, len(curve.accuracy_steps) // 6))
        rate_axes(axes, "accuracy", "step")
        axes.set_title("accuracy during training", loc="left")

    return sheet_of([loss, accuracy], {name: looks[name] for name in history}, f"training on {short(dataset, 40)}", _WIDE)


def class_labels(entry: OneImage, classes: Sequence[str]) -> list[str]:
    """A label a class, each different, the true one said to be so."""
    seen = [f"{name} ({number})" if list(classes).count(name) > 1 else name for number, name in enumerate(classes)]
    return [f"{name} (true class)" if number == entry.label else name for number, name in enumerate(seen)]


def probability_sheet(entry: OneImage, classes: Sequence[str]) -> Sheet:
    """Class probabilities of one image against eps, one panel a network."""
    looks = styles(class_labels(entry, classes))

    def paint(axes: Axes, name: str) -> None:
        for number, style in enumerate(looks.values()):
            values = [line[number] for line in entry.networks[name]]
            draw_line(axes, entry.eps, values, style, number == entry.label).set_clip_on(False)
        rate_axes(axes, "class probability", EPS_LABEL)
        axes.set_title(short(name, 28), loc="left")

    return sheet_of([bound(paint, name) for name in entry.networks], looks, f"one image of {short(entry.dataset, 40)}; heavy: its true class")


def clean_sheet(dataset: str, lines: Sequence[CleanLine], majority: float | None) -> Sheet:
    """Clean accuracies with intervals, ours filled, the paper's hollow below them, one line a network."""
    ours, theirs = Style(0, _COLOURS[0], "solid", "o"), Style(1, _COLOURS[1], "solid", "s")
    looks = {"ours": ours} | ({"the paper": theirs} if any(line.paper for line in lines) else {})

    def paint(axes: Axes) -> None:
        if majority is not None:
            axes.axvline(majority, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        for at, line in enumerate(lines):
            if line.row is not None and line.row.n:
                _dot(axes, line.row.value, (line.row.low, line.row.high), at - 0.14, ours, ours.colour)
            if line.paper is not None and not isinstance(line.paper.value, str):
                _dot(axes, line.paper.value, (line.paper.low, line.paper.high), at + 0.14, theirs, PAPER)
        axes.set(xlabel="accuracy on clean images", ylim=(len(lines) - 0.5, -0.5), yticks=range(len(lines)))
        axes.set_yticklabels([short(line.network, 20) for line in lines])
        axes.margins(x=0.06)

    size = (4.8, 0.9 + 0.3 * max(2, len(lines)))
    return sheet_of([paint], looks, f"{short(dataset, 40)}; 95 % intervals; dotted: majority class", size, 1.6)


def _dot(axes: Axes, value: float, ends: tuple[float | None, float | None], at: float, style: Style, fill: str) -> None:
    found = [end for end in ends if end is not None]
    if len(found) == 2:
        axes.plot(found, [at, at], color=style.colour, linewidth=1.6)
    axes.plot([value], [at], style.marker, color=style.colour, markerfacecolor=fill, markersize=6, zorder=4)
