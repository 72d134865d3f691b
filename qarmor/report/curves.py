"""Figures about hardware and detection: accuracy against noise and shots, certified accuracy, ROC curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from qarmor.report.detection import Pair
from qarmor.report.figures import EPS_LABEL, Style, band, bound, dotted, draw_line, rate_axes, sheet_of
from qarmor.report.hardware import Certified, Rate, WithShots
from qarmor.report.svg import INK, Sheet, short

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DOTS = (0, (1, 2))


@dataclass(frozen=True)
class NoisePanel:
    """Accuracies against the strength of noise: ``lines`` by label, each of rising (strength, share); ``noiseless`` by network."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, Rate]]]
    noiseless: Mapping[str, float]


def noise_sheet(panels: Sequence[NoisePanel], looks: Mapping[str, Style], title: str) -> Sheet:
    """A panel for clean images and for each attack, against the rate of the noise."""

    def paint(axes: Axes, panel: NoisePanel) -> None:
        for number, (name, value) in enumerate(sorted(panel.noiseless.items(), key=lambda entry: entry[1])):
            dotted(axes, value)
            # by turns at the left and at the right, so that names of networks that are level don't cover one another
            x, side = ((0.01, "left"), (0.99, "right"))[number % 2]
            axes.text(x, value + 0.01, f"{short(name, 22)}, no noise", transform=axes.get_yaxis_transform(), ha=side, va="bottom", fontsize=7.5)
        log_axis(axes)
        for label, points in panel.lines.items():
            _rates(axes, points, looks[label])
        rate_axes(axes, "accuracy", "rate of the noise")
        axes.set_title(short(panel.title, 32), loc="left")

    return sheet_of([bound(paint, panel) for panel in panels], looks, f"{title}; bands: 95 %; dotted: the network without noise")


def shots_sheet(dataset: str, entries: Sequence[WithShots], looks: Mapping[str, Style]) -> Sheet:
    """Accuracy of one data set's networks against shots; dotted what each has with exact expectations."""

    def paint(axes: Axes) -> None:
        log_axis(axes)
        for entry in entries:
            style = looks[entry.network]
            axes.axhline(entry.shots.exact, color=style.colour, linewidth=1.2, linestyle=_DOTS, zorder=1, gid=f"line-{style.number}")
            _rates(axes, entry.shots.points, style)
        rate_axes(axes, "accuracy", "shots an image")
        axes.set_title(short(dataset, 40), loc="left")

    shown = {entry.network: looks[entry.network] for entry in entries}
    return sheet_of([paint], shown, "bands: 95 %; dotted, in each network's colour: exact expectations", (5.4, 3.3))


def log_axis(axes: Axes) -> None:
    """Powers of ten across, in plain text: matplotlib writes them as formulas, which a page without its fonts cannot show."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def power(value: float) -> str:
    """A power of ten, in digits where these are few."""
    return f"{value:g}" if 1e-3 <= value <= 1e3 else f"10{str(round(math.log10(value))).translate(_SUPERSCRIPTS)}"


def _rates(axes: Axes, points: Sequence[tuple[float, Rate]], style: Style) -> None:
    """A line; intervals only where all of its points have one."""
    x = [at for at, _ in points]
    limits = [(one.low, one.high) for _, one in points if one.low is not None and one.high is not None]
    if len(limits) == len(points):
        band(axes, x, limits, style)
    draw_line(axes, x, [one.value for _, one in points], style).set_clip_on(False)


ATTACKED = "the best attack"


def certificate_sheet(entries: Sequence[Certified], looks: Mapping[str, Style], names: Mapping[str, str], best: str, title: str) -> Sheet:
    """What each network keeps under the best attack and what is certified, against eps; between it and ``best`` the truth, shaded.

    Args:
        entries: a panel each.
        looks: a style for ``ATTACKED`` and for the words of each certificate.
        names: those words by certificate.
        best: the certificate that the band begins at.
        title: under the panels.
    """

    def paint(axes: Axes, entry: Certified) -> None:
        if best in entry.certified:
            low, high = [one.value for one in entry.certified[best]], [one.value for one in entry.attacked]
            axes.fill_between(entry.eps, low, high, color=INK, alpha=0.13, linewidth=0, gid="truth")
        lines = {ATTACKED: entry.attacked, **{names[name]: values for name, values in entry.certified.items()}}
        for label, values in lines.items():
            draw_line(axes, entry.eps, [one.value for one in values], looks[label]).set_clip_on(False)
        rate_axes(axes, "accuracy", EPS_LABEL)
        axes.set_title(short(entry.network, 30), loc="left")

    return sheet_of([bound(paint, entry) for entry in entries], looks, title)


def roc_sheet(pairs: Sequence[Pair], looks: Mapping[str, Style], roles: Mapping[tuple[str, str, str], str], title: str) -> Sheet:
    """ROC curves of each pair; a cross where the alarm of disagreement stands.

    Args:
        pairs: a panel each.
        looks: a style for each role.
        roles: what the source of a curve is, by first, second and source.
        title: under the panels.
    """

    def paint(axes: Axes, pair: Pair) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=_DOTS, zorder=1)
        false = pair.find("false_positive_rate", "")
        for curve in pair.roc:
            style = looks[roles[pair.first, pair.second, curve.source]]
            line = draw_line(axes, [x for x, _ in curve.points], [y for _, y in curve.points], style)
            line.set_markevery(max(1, len(curve.points) // 5))
            line.set_clip_on(False)
            true = pair.find("true_positive_rate", curve.source)
            if false is not None and true is not None:
                axes.plot(
                    [false.value],
                    [true.value],
                    "x",
                    color=style.colour,
                    markersize=9,
                    markeredgewidth=2.2,
                    zorder=5,
                    clip_on=False,
                    gid=f"line-{style.number}",
                )
        rate_axes(axes, "true positive rate", "false positive rate")
        axes.set(xlim=(0, 1), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.set_title(short(f"{pair.first} and {pair.second}", 32), loc="left")

    return sheet_of([bound(paint, pair) for pair in pairs], looks, title)
