"""SVG text made by matplotlib without pyplot, the same bytes every time, and its pieces as elements of the page."""

from __future__ import annotations

import copy
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, GRID, PAPER = "#1f2328", "#d9dee5", "#fefefe"
"""Colours of text and axes, of the grid, and of the ground; on the page they follow its theme."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "qarmor",
    "text.parse_math": False,
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
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
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK)


@dataclass(frozen=True)
class Sheet:
    """A drawn figure.

    Attributes:
        svg: the whole figure, to be published on its own.
        boxes: left, top, width and height of each panel in it, in points; panel i is the group with id ``panel-i``.
    """

    svg: str
    boxes: tuple[tuple[float, float, float, float], ...]


def draw(paint: Callable[[Figure], None], width: float, height: float) -> str:
    """A figure of ``width`` by ``height`` inches, painted with our settings, whatever the user's matplotlibrc says."""
    with _settings():
        figure = Figure(figsize=(width, height))
        paint(figure)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _compact(out.getvalue().decode())


def _compact(svg: str) -> str:
    """The same drawing in two thirds of the bytes: hundredths of a point, no indentation. Texts stay as they are."""
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), re.sub(r"\n\s*(?=<)", "\n", svg))


@contextmanager
def _settings() -> Iterator[None]:
    """A glyph that the layout's font lacks is left to the reader's fonts."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def short(name: str, limit: int = 30) -> str:
    """``name``, cut to ``limit`` characters that XML allows; never with an underscore in front, with which matplotlib hides a label."""
    name = printable(name)
    cut = name if len(name) <= limit else f"{name[: limit - 1]}…"
    return f" {cut}" if cut.startswith("_") else cut


def printable(text: str) -> str:
    """``text`` with what XML doesn't allow replaced."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def panels(sheet: Sheet, prefix: str, labels: Sequence[str]) -> list[Markup]:
    """The panels of ``sheet`` as elements of the page: ids made unique by ``prefix``, colours that follow the theme.

    Args:
        sheet: the figure.
        prefix: different for each figure of the page.
        labels: one sentence a panel, for those who don't see it.
    """
    root = _cleaned(ET.fromstring(sheet.svg))
    definitions = {one.attrib["id"]: one for defs in root.iter("defs") for one in defs if "id" in one.attrib}
    groups = {element.get("id"): element for element in root.iter("g")}
    return [
        _element(groups[f"panel-{i}"], definitions, box, f"{prefix}-{i}", label)
        for i, (box, label) in enumerate(zip(sheet.boxes, labels, strict=True))
    ]


def _element(group: ET.Element, definitions: dict[str, ET.Element], box: Sequence[float], prefix: str, label: str) -> Markup:
    group = copy.deepcopy(group)
    for parent in list(group.iter()):
        for child in list(parent):
            if child.tag == "defs":
                parent.remove(child)
    used = sorted(_references(group) & set(definitions))
    names = {name: f"{prefix}-{number}" for number, name in enumerate(used)}
    title = ET.Element("title", {"id": f"{prefix}-t"})
    title.text = printable(label)
    root = ET.Element("svg", {"viewBox": " ".join(f"{part:g}" for part in box), "class": "plot", "role": "img", "aria-labelledby": f"{prefix}-t"})
    defs = ET.Element("defs")
    defs.extend(copy.deepcopy(definitions[name]) for name in used)
    for part in (defs, group):
        for element in part.iter():
            _mark(element, names)
            element.attrib = {name: _placed(name, value, names) for name, value in element.attrib.items()}
    root.extend([title, defs, group])
    return Markup(ET.tostring(root, encoding="unicode"))  # ElementTree has escaped every text and attribute


def _references(group: ET.Element) -> set[str]:
    values = " ".join(value for element in group.iter() for name, value in element.attrib.items() if name in ("href", "clip-path"))
    return set(re.findall(r"#([\w.-]+)", values))


def _mark(element: ET.Element, names: Mapping[str, str]) -> None:
    """Keeps an id only where something refers to it; ``line-3`` becomes an attribute, by which the page's script finds the line."""
    name = element.get("id")
    if name is not None and name not in names:
        del element.attrib["id"]
        if name.startswith("line-"):
            element.set("data-line", name.removeprefix("line-"))


def _placed(name: str, value: str, names: Mapping[str, str]) -> str:
    """The value of an attribute with the page's ids for those of the file."""
    if name == "id":
        return names[value]
    if name in ("href", "clip-path"):
        return re.sub(r"#([\w.-]+)", lambda found: f"#{names[found[1]]}", value)
    return value


def _cleaned(root: ET.Element) -> ET.Element:
    """Local names, colours of the theme, two decimals, no blanks between elements."""
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _themed(_local(name), value) for name, value in element.attrib.items()}
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None
    return root


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _themed(name: str, value: str) -> str:
    if name in ("d", "x", "y", "width", "height", "transform"):
        value = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
        return " ".join(value.split())
    if name == "style":
        value = value.replace(INK, "currentColor").replace(GRID, "var(--grid)").replace(PAPER, "var(--card)")
        value = re.sub(r"font-family: [^;]*", "font-family: inherit", re.sub(r"font: ([^;']*)'[^;]*", r"font: \1inherit", value))
        return value.replace(": ", ":").replace("; ", ";").replace("stroke-dashoffset:0;", "")
    return value
