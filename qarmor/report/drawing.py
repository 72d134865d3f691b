"""SVG text written line by line, for diagrams: colours by name, that follow the page's theme there and are light in a file."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from markupsafe import Markup

from qarmor.report.svg import printable

LIGHT = {"ink": "#1f2328", "soft": "#57606a", "line": "#8c959f", "tint": "#f5f7f9", "card": "#fefefe"} | {
    "classical": "#0072b2",
    "quantum": "#b8500a",
    "attack": "#a03c78",
}
"""Colours of a file; page.css has variables of these names for both themes."""

_WIDE = 0.58  # of a letter, in units of its size: DejaVu Sans, the widest of the likely fonts


class Drawing:
    """A drawing of ``width`` by ``height`` units, one unit a pixel on a phone. Texts are escaped; one that is too long is cut.

    Args:
        width, height: of the whole.
        title: its name, for those who don't see it.
        description: what it shows, likewise.
    """

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.root = ET.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "class": "diagram", "role": "img"})
        self.width, self.height = width, height
        self.texts = (title, description)
        for tag, words in zip(("title", "desc"), self.texts, strict=True):
            ET.SubElement(self.root, tag).text = printable(words)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        stroke: str = "line",
        fill: str = "card",
        *,
        opacity: float = 1.0,
        dashed: bool = False,
        round_by: float = 3,
    ) -> None:
        """A rectangle with its corner at ``(x, y)``."""
        style = {"stroke": _colour(stroke), "fill": _colour(fill), "stroke-width": "1.1"} | ({"stroke-dasharray": "4 3"} if dashed else {})
        faint = {"fill-opacity": f"{opacity:g}"} if opacity < 1 else {}
        ET.SubElement(self.root, "rect", {**_numbers(x=x, y=y, width=width, height=height, rx=round_by), **faint, "style": _style(style)})

    def path(self, d: str, stroke: str = "line", *, dashed: bool = False, wide: float = 1.1, fill: str = "none") -> None:
        """A line or an outline, in SVG's words."""
        style = {"stroke": _colour(stroke), "fill": _colour(fill), "stroke-width": f"{wide:g}"} | ({"stroke-dasharray": "4 3"} if dashed else {})
        ET.SubElement(self.root, "path", {"d": d, "style": _style(style)})

    def arrow(self, x: float, y: float, to_x: float, to_y: float, stroke: str = "soft", wide: float = 1.3) -> None:
        """A straight arrow."""
        self.path(f"M{x:g} {y:g}L{to_x:g} {to_y:g}", stroke, wide=wide)
        length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
        u, v = 6 * (to_x - x) / length, 6 * (to_y - y) / length
        corners = [(to_x, to_y), (to_x - u - v / 2, to_y - v + u / 2), (to_x - u + v / 2, to_y - v - u / 2)]
        self.path("M" + "L".join(f"{p:.2f} {q:.2f}" for p, q in corners) + "Z", stroke, fill=stroke)

    def dot(self, x: float, y: float, radius: float, fill: str = "ink") -> None:
        """A filled circle."""
        ET.SubElement(self.root, "circle", {**_numbers(cx=x, cy=y, r=radius), "style": _style({"fill": _colour(fill)})})

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 11.5,
        *,
        room: float | None = None,
        anchor: str = "start",
        fill: str = "ink",
        bold: bool = False,
        upright: bool = True,
    ) -> None:
        """A line of text with its base at ``(x, y)``; with ``room``, cut to as many units; ``upright=False`` turns it to be read from below."""
        style = {"font-size": f"{size:g}px", "fill": _colour(fill)} | ({"font-weight": "600"} if bold else {})
        turned = {} if upright else {"transform": f"rotate(-90 {x:g} {y:g})"}
        element = ET.SubElement(self.root, "text", {**_numbers(x=x, y=y), "text-anchor": anchor, **turned, "style": _style(style)})
        element.text = printable(words if room is None else fit(words, room, size))

    def on_page(self, prefix: str) -> Markup:
        """As an element of the page; ``prefix`` makes ids unique."""
        names = {"title": f"{prefix}-t", "desc": f"{prefix}-d"}
        for tag, name in names.items():
            found = self.root.find(tag)
            if found is not None:
                found.set("id", name)
        self.root.set("aria-labelledby", names["title"])
        self.root.set("aria-describedby", names["desc"])
        return Markup(ET.tostring(self.root, encoding="unicode"))  # ElementTree has escaped every text and attribute

    def as_file(self) -> str:
        """As a file of its own, light, on paper."""
        text = ET.tostring(self.root, encoding="unicode")
        inner = text[text.index(">") + 1 :].replace("><", ">\n<")
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        font = "font-family=\"'DejaVu Sans', Arial, sans-serif\""
        paper = f'<rect width="{self.width:g}" height="{self.height:g}" fill="{LIGHT["card"]}"/>'
        text = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {font}>\n{inner}\n'
        text = text.replace("</desc>", f"</desc>\n{paper}", 1)
        return re.sub(rf"var\(--({'|'.join(LIGHT)})\)", lambda found: LIGHT[found[1]], text)


def fit(words: str, room: float, size: float) -> str:
    """``words``, cut to ``room`` units."""
    most = max(1, int(room / (size * _WIDE)))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _colour(name: str) -> str:
    return name if name == "none" else f"var(--{name})"


def _style(parts: dict[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in parts.items())


def _numbers(**values: float) -> dict[str, str]:
    return {name: f"{value:.2f}".rstrip("0").rstrip(".") for name, value in values.items()}
