"""The frontier as a figure: networks as named points, clean accuracy across, accuracy under attack up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes

from qarmor.report.figures import Style, bound, sheet_of
from qarmor.report.svg import INK, PAPER, Sheet, short
from qarmor.types import Row

LOOKS = {
    "quantum": Style(0, "#0072b2", "None", "D"),
    "classical": Style(1, "#d55e00", "None", "o"),
    "front of the classical networks": Style(2, "#737983", (0, (5, 1.6)), "None"),
}
_SIZE = (4.6, 4.0)
_FONT = 7.5
_LETTER = 0.56 * _FONT  # points; a mean width


@dataclass(frozen=True)
class Point:
    """A network: its rows on clean and on attacked images."""

    name: str
    quantum: bool
    clean: Row
    attacked: Row

    @property
    def at(self) -> tuple[float, float]:
        """Where it stands."""
        return self.clean.value, self.attacked.value


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other of ``points`` matches in both accuracies and passes in one, by rising clean accuracy; of equal ones the first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.clean.value, -one.attacked.value)):
        if not found or point.attacked.value > found[-1].attacked.value:
            found.append(point)
    return found[::-1]


def frontier_sheet(panels: Sequence[tuple[str, Sequence[Point]]], title: str) -> Sheet:
    """A panel for each title; the classical networks' front as stairs."""

    def paint(axes: Axes, panel: tuple[str, Sequence[Point]]) -> None:
        words, points = panel
        # clean accuracy up to 1 and no further: the names need the room that is left of it
        _limits(axes, points)
        stairs = front([point for point in points if not point.quantum])
        if stairs:
            _stairs(axes, stairs)
        for point in points:
            style = LOOKS["quantum" if point.quantum else "classical"]
            (x, y), (clean, attacked) = point.at, (point.clean, point.attacked)
            gid = f"line-{style.number}"
            axes.plot([clean.low, clean.high], [y, y], color=style.colour, linewidth=0.9, alpha=0.55, gid=gid)
            axes.plot([x, x], [attacked.low, attacked.high], color=style.colour, linewidth=0.9, alpha=0.55, gid=gid)
            axes.plot([x], [y], style.marker, color=style.colour, markeredgecolor=PAPER, markeredgewidth=0.6, markersize=7, zorder=4, gid=gid)
        _names(axes, points)
        axes.set(xlabel="accuracy on clean images", ylabel="accuracy under attack")
        axes.set_title(short(words, 52), loc="left")

    return sheet_of([bound(paint, panel) for panel in panels], LOOKS, title, _SIZE)


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    for setter, rows in ((axes.set_xlim, [point.clean for point in points]), (axes.set_ylim, [point.attacked for point in points])):
        low, high = min(row.low for row in rows), max(row.high for row in rows)
        room = 0.08 * max(high - low, 0.05)
        setter(low - room, high + room)


def _stairs(axes: Axes, stairs: Sequence[Point]) -> None:
    """From the left edge at the height of the most robust, step by step down to the bottom edge below the most accurate."""
    style = LOOKS["front of the classical networks"]
    x, y = [axes.get_xlim()[0]], [stairs[0].attacked.value]
    for step, after in zip(stairs, [*stairs[1:], None], strict=True):
        x += [step.clean.value, step.clean.value]
        y += [step.attacked.value, axes.get_ylim()[0] if after is None else after.attacked.value]
    axes.plot(x, y, color=style.colour, linewidth=1.4, linestyle=style.dash, zorder=2, gid=f"line-{style.number}")


def _names(axes: Axes, points: Sequence[Point]) -> None:
    """Each name beside its point, where it covers no other point or name, with a thin line to it if that is not close by."""
    scale = 72 / axes.figure.dpi
    spots = [tuple(scale * value for value in axes.transData.transform(point.at)) for point in points]
    frame = [scale * value for value in axes.bbox.extents]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for point, (x, y) in sorted(zip(points, spots, strict=True), key=lambda entry: -entry[1][1]):
        name = short(point.name, 26)
        width, height = _LETTER * len(name), 1.15 * _FONT
        tries = []
        for far, (right, up) in product((7, 16, 28, 42), ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))):
            left = x + far * right - width * (1 - right) / 2
            bottom = y + far * up - height / 2
            box = (left, bottom, left + width, bottom + height)
            outside = max(0, frame[0] - box[0]) + max(0, box[2] - frame[2]) + max(0, frame[1] - box[1]) + max(0, box[3] - frame[3])
            tries.append((sum(_overlap(box, other) for other in taken) + 20 * outside, far, box))
        _, far, box = min(tries, key=lambda entry: entry[:2])
        taken.append(box)
        axes.annotate(
            name,
            point.at,
            ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_FONT,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3} if far > 16 else None,
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    across, up = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, up)
