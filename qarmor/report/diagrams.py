"""Diagrams of circuits, of classical networks, and of what transfer and defence mean; every number comes from what is drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from qarmor.report.drawing import Drawing
from qarmor.report.overview import Circuit, Layered, Stage

WIDTH = 360.0
TIMES = "\N{MULTIPLICATION SIGN}"
_WORDS = {1: "one", 2: "two", 3: "three"}
_TOP, _WIRE = 62.0, 22.0


def circuit(depths: Sequence[Circuit]) -> Drawing:
    """One circuit of networks that differ in the number of their layers, angles and scale alone."""
    one = depths[0]
    bottom = _TOP + (one.qubits - 1) * _WIRE
    drawing = Drawing(WIDTH, bottom + 82 + 34 * len(depths), f"Circuit of {', '.join(c.network for c in depths)}", _in_words(depths))
    wires = [_TOP + q * _WIRE for q in range(one.qubits)]
    for y in wires:
        drawing.text(20, y + 3.5, "|0⟩", 10.5, anchor="end", fill="soft")
        drawing.path(f"M23 {y:g}H246M262 {y:g}H296")
        drawing.path(f"M248 {y:g}H260", dashed=True)
    _encoding(drawing, one, wires)
    _layer(drawing, one, wires)
    _readout(drawing, one, wires)
    times = _listed([f"{c.layers:,}" for c in depths])
    drawing.text(158, 16, "one layer,", 11, anchor="middle")
    drawing.text(158, 30, f"{times} times", 11, anchor="middle", bold=True, room=210)
    _key(drawing, bottom + 34, one)
    for number, each in enumerate(depths):
        _depth(drawing, bottom + 88 + 34 * number, each)
    return drawing


def _in_words(depths: Sequence[Circuit]) -> str:
    one = depths[0]
    pairs = ", ".join(f"{a}-{b}" for a, b in one.pairs)
    each = "; ".join(f"{c.network}: {c.layers:,} layers, {c.angles:,} angles, {c.gates:,} gates, scale {c.scale:g}" for c in depths)
    what = f"{math.prod(one.shape):,} pixels are encoded in the amplitudes of {one.qubits} qubits"
    layer = f"A layer has a rotation with three angles on every qubit and CZ on the pairs {pairs or 'none'}"
    return f"{what}. {layer}. Z is read on the first {one.classes} qubits and multiplied by a scale. {each}."


def _encoding(drawing: Drawing, one: Circuit, wires: Sequence[float]) -> None:
    top, height = wires[0] - 13, wires[-1] - wires[0] + 26
    middle = top + height / 2
    drawing.box(28, top, 44, height, "quantum", "card")
    drawing.box(28, top, 44, height, "quantum", "quantum", opacity=0.1)
    drawing.text(47, middle, "amplitude encoding", 11, anchor="middle", bold=True, upright=False, room=height - 4)
    drawing.text(
        62, middle, f"{math.prod(one.shape):,} pixels → {2**one.qubits:,}", 10.5, anchor="middle", fill="soft", upright=False, room=height - 4
    )


def _layer(drawing: Drawing, one: Circuit, wires: Sequence[float]) -> None:
    drawing.box(80, wires[0] - 22, 160, wires[-1] - wires[0] + 44, "quantum", "none", dashed=True, round_by=6)
    for y in wires:
        drawing.box(90, y - 8.5, 32, 17, "quantum", "card")
        drawing.text(106, y + 3.7, "Rot", 10.5, anchor="middle")
    step = min(14.0, 96 / max(1, len(one.pairs) - 1))
    for number, (first, second) in enumerate(one.pairs):
        x = 134 + number * step
        drawing.path(f"M{x:.4g} {wires[first]:g}V{wires[second]:g}", "ink", wide=1.2)
        drawing.dot(x, wires[first], 2.6)
        drawing.dot(x, wires[second], 2.6)


def _readout(drawing: Drawing, one: Circuit, wires: Sequence[float]) -> None:
    for number, y in enumerate(wires[: one.classes]):
        drawing.box(268, y - 8.5, 28, 17, "ink", "card")
        drawing.text(282, y + 3.7, "⟨Z⟩", 10.5, anchor="middle")
        drawing.arrow(296, y, 312, y)
        drawing.text(315, y + 3.7, f"logit {number}", 10.5)
    drawing.text(304, wires[0] - 14, f"{TIMES} scale", 10.5, anchor="middle", fill="soft")
    for y in wires[one.classes :]:
        drawing.path(f"M296 {y - 5:g}v10", "line", wide=1.6)
        drawing.text(302, y + 3.7, "not read", 10.5, fill="soft")


def _key(drawing: Drawing, y: float, one: Circuit) -> None:
    """What the two gates of a layer are."""
    drawing.box(8, y - 8.5, 32, 17, "quantum", "card")
    drawing.text(24, y + 3.7, "Rot", 10.5, anchor="middle")
    drawing.text(46, y + 3.7, "= RZ(φ), RY(θ), RZ(ω): 3 angles", 10.5)
    drawing.path(f"M262 {y - 8:g}V{y + 8:g}", "ink", wide=1.2)
    drawing.dot(262, y - 8, 2.6)
    drawing.dot(262, y + 8, 2.6)
    drawing.text(270, y + 3.7, "= CZ", 10.5)
    words = f"{one.gates_per_layer} gates a layer; encoding {one.encoding_gates:,} gates"
    drawing.text(8, y + 28, words, 11, fill="soft", room=WIDTH - 16)


def _depth(drawing: Drawing, y: float, one: Circuit) -> None:
    drawing.text(8, y, one.network, 11.5, bold=True, room=120)
    drawing.text(352, y, f"{one.layers:,} layers, {one.angles:,} angles", 11.5, anchor="end")
    scale = f"scale {one.scale:g}, {'learned from there' if one.learns_scale else 'fixed'}"
    drawing.text(352, y + 14, f"{one.gates:,} gates; {scale}", 11, anchor="end", fill="soft")


def layered(one: Layered) -> Drawing:
    """A classical network from image to logits, a row a stage."""
    pitch = 58.0
    rows = [("image", "", one.shape), *(_stage_words(stage) for stage in one.stages)]
    rest = one.parameters - sum(stage.parameters for stage in one.stages)
    if rest > 0:
        rows.append((f"{rest:,} parameters elsewhere", "", (one.classes,)))
    shown = "; ".join(f"{head}, {then + ', ' if then else ''}to {_shape(out)}" for head, then, out in rows[1:])
    description = f"{one.name}, {one.layers} layers with weights, {one.parameters:,} parameters. From {_shape(one.shape)}: {shown}."
    drawing = Drawing(WIDTH, 28 + pitch * len(rows), f"Layers of {one.network}", description)
    drawing.text(8, 18, one.name, 12, bold=True, room=150)
    drawing.text(352, 18, f"{one.layers} layers, {one.parameters:,} parameters", 11, anchor="end")
    side = max(one.shape[-2:] if len(one.shape) == 3 else (1,))
    for number, (head, then, out) in enumerate(rows):
        y = 56 + pitch * number
        stage = one.stages[number - 1] if 0 < number <= len(one.stages) else None
        if number:
            drawing.arrow(44, y - 39, 44, y - 24)
        _glyph(drawing, y, out, side, stage)
        drawing.text(92, y - 8, head, 12, bold=True, room=268)
        if then:
            drawing.text(92, y + 6, then, 11, room=268)
        counted = f"{_shape(out)} · {stage.parameters:,} parameters" if stage else _shape(out)
        drawing.text(92, y + 20 if then else y + 6, counted, 11, fill="soft", room=268)
    return drawing


def _stage_words(stage: Stage) -> tuple[str, str, tuple[int, ...]]:
    stride = f", stride {stage.stride}" if stage.stride and stage.stride > 1 else ""
    kernel = f"{stage.kernel}{TIMES}{stage.kernel}"
    if stage.what == "convolution":
        head = f"{kernel} convolution, {stage.out[0]} maps{stride}"
    elif stage.what == "block":
        head = f"{stage.count} residual block{'s' if stage.count > 1 else ''}, {stage.out[0]} maps{stride}"
        return head, f"{_WORDS.get(stage.convolutions or 0, str(stage.convolutions))} {kernel} convolutions and a shortcut each", stage.out
    elif stage.what == "linear":
        head = f"fully connected, {stage.out[0]} {'unit' if stage.out[0] == 1 else 'units'}"
    else:
        head = stage.what
    return head, re.sub(r"(?<=\d)x(?=\d)", TIMES, ", ".join(stage.then)), stage.out


def _shape(shape: Sequence[int]) -> str:
    return f" {TIMES} ".join(f"{side:,}" for side in shape) if len(shape) > 1 else f"{shape[0]:,} values"


def _glyph(drawing: Drawing, y: float, out: Sequence[int], side: int, stage: Stage | None) -> None:
    """A pile of maps, as large as they are and higher the more there are; a strip for values without height and width."""
    colour = "ink" if stage is None else "classical"
    if len(out) < 3:
        wide = 14 + 6 * math.log2(max(2, out[0]))
        drawing.box(44 - wide / 2, y - 7, wide, 14, colour, "card")
        drawing.box(44 - wide / 2, y - 7, wide, 14, colour, colour, opacity=0.15)
        return
    height, width = (7 + 27 * part / side for part in out[1:])
    sheets = 1 + round(0.7 * math.log2(max(1, out[0])))
    for number in range(sheets):
        shift = 2.4 * (number - (sheets - 1) / 2)
        drawing.box(44 - width / 2 + shift, y - height / 2 + shift * 0.7, width, height, colour, "card", round_by=1)
    drawing.box(44 - width / 2 + shift, y - height / 2 + shift * 0.7, width, height, colour, colour, opacity=0.15, round_by=1)
    if stage and stage.what == "block":
        for number in range(stage.count):
            drawing.path(f"M32 {y - 18:g}C{8 - 7 * number} {y - 12:g} {8 - 7 * number} {y + 12:g} 32 {y + 18:g}", "classical", dashed=True)


def judged(maker: str, camp: str, lines: Sequence[tuple[str, str, str, str]]) -> Drawing:
    """Who looks at an attack that was made on ``maker``.

    Args:
        maker: the network that it is made on.
        camp: its kind, ``"classical"`` or ``"quantum"``.
        lines: of each judge the word for it, its name, its kind, and what that is.
    """
    pitch = 66.0
    words = "; ".join(f"judged by {name}, {what}: {word}" for word, name, _, what in lines)
    height = 30 + pitch * len(lines)
    drawing = Drawing(WIDTH, height, f"Attacks made on {maker}", f"Images attacked on {maker}, a {camp} network, are {words}.")
    middle = 22 + pitch * len(lines) / 2
    drawing.text(8, 14, "attack", 11, fill="attack", bold=True)
    drawing.text(352, 14, "judges", 11, fill="soft", anchor="end", bold=True)
    drawing.box(4, middle - 34, 108, 68, "attack", "card", round_by=6)
    drawing.box(4, middle - 34, 108, 68, "attack", "attack", opacity=0.1, round_by=6)
    drawing.text(58, middle - 14, "images made", 11, anchor="middle")
    drawing.text(58, middle + 1, "to fool", 11, anchor="middle")
    drawing.text(58, middle + 19, maker, 12, anchor="middle", bold=True, fill=camp, room=100)
    for number, (word, name, kind, what) in enumerate(lines):
        y = 22 + pitch * (number + 0.5)
        drawing.arrow(112, middle + 14 * (number - (len(lines) - 1) / 2), 214, y, "attack", 1.6 if number else 2.4)
        drawing.box(216, y - 24, 140, 48, kind, "card", round_by=6)
        drawing.box(216, y - 24, 140, 48, kind, kind, opacity=0.08, round_by=6)
        drawing.text(286, y - 5, name, 12, anchor="middle", bold=True, fill=kind, room=132)
        drawing.text(286, y + 12, what, 10.5, anchor="middle", fill="soft", room=136)
        at = 163.0
        slope = (y - (middle + 14 * (number - (len(lines) - 1) / 2))) / 102
        base = y - (214 - at) * slope
        drawing.box(at - 3.4 * len(word) - 6, base - 9, 6.8 * len(word) + 12, 18, "none", "card", round_by=9)
        drawing.text(at, base + 4, word, 11.5, anchor="middle", bold=True)
    return drawing


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
