"""Overviews as ``results.json`` has them: pictures of each data set, and what each network is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qarmor.report.reader import Array, Reader, arrays_path, bad, check_labels, check_picture, read_arrays

_MOST = 64  # qubits or stages that a diagram is drawn of


@dataclass(frozen=True)
class Circuit:
    """A QVC. ``pairs``: qubits that a CZ of each layer joins, in order; ``padding``: where zeros stand, ``"end"`` or ``"centre"``."""

    network: str
    shape: tuple[int, ...]
    classes: int
    parameters: int
    qubits: int
    layers: int
    angles: int
    gates: int
    gates_per_layer: int
    encoding_gates: int
    pairs: tuple[tuple[int, int], ...]
    padding: str
    scale: float
    learns_scale: bool


@dataclass(frozen=True)
class Stage:
    """A step of a classical network: ``count`` times ``what``, then the steps without weights; ``out`` is the shape that it leaves."""

    what: str
    count: int
    kernel: int | None
    stride: int | None
    convolutions: int | None
    parameters: int
    then: tuple[str, ...]
    out: tuple[int, ...]


@dataclass(frozen=True)
class Layered:
    """A network of ``stages``, none where it has no layers to show; ``layers``: with weights, as papers count them."""

    network: str
    name: str
    shape: tuple[int, ...]
    classes: int
    parameters: int
    layers: int
    stages: tuple[Stage, ...]


Architecture = Circuit | Layered


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images ``(k, C, H, W)`` of a data set with their labels; and one, ``(1, C, H, W)``, clean and attacked, with what the network said of it."""

    dataset: str
    labels: tuple[int, ...]
    images: Array
    clean: Array
    adversarial: Array
    index: int
    label: int
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Overview:
    """Kind ``overview``; architectures stand in pairs with their data set."""

    source: str
    attack: str
    eps: float
    pictures: tuple[Pictures, ...]
    architectures: tuple[tuple[str, Architecture], ...]


def read(about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> Overview:
    """The body of a section of kind ``overview``.

    Raises:
        FileNotFoundError: a file of arrays is missing.
        ValueError: something isn't what it should be.
    """
    return Overview(
        source=about.name("source"),
        attack=about.name("attack"),
        eps=about.required("eps"),
        pictures=tuple(_pictures(one, directory, classes) for one in about.each("entries")),
        architectures=tuple((one.name("dataset"), architecture(one)) for one in about.each("architectures")),
    )


def architecture(about: Reader) -> Architecture:
    """What a network is made of; raises ValueError for a form that isn't known, and for numbers that cannot be."""
    form = about.text("form")
    if form not in ("circuit", "stages"):
        raise bad(about.path, f"{about.place('form')} should be circuit or stages, got {form!r}")
    return _circuit(about) if form == "circuit" else _layered(about)


def _circuit(about: Reader) -> Circuit:
    qubits, classes = about.whole("qubits", 1), about.whole("classes", 1)
    pairs = [Reader(about.path, {"pair": pair}, about.place(f"pairs[{i}]")).integers("pair") for i, pair in enumerate(about.items("pairs"))]
    fine = qubits <= _MOST and classes <= qubits and all(len(p) == 2 and 0 <= p[0] < p[1] < qubits for p in pairs) and len(pairs) <= qubits**2
    if not fine:
        raise bad(about.path, f"{about.where}: {classes} readouts of {qubits} qubits (at most {_MOST}) with pairs {pairs[:20]}")
    return Circuit(
        network=about.name("network"),
        shape=_shape(about, "shape"),
        classes=classes,
        parameters=about.whole("parameters"),
        qubits=qubits,
        layers=about.whole("layers"),
        angles=about.whole("angles"),
        gates=about.whole("gates"),
        gates_per_layer=about.whole("gates_per_layer"),
        encoding_gates=about.whole("encoding_gates"),
        pairs=tuple((first, second) for first, second in pairs),
        padding=about.text("padding"),
        scale=about.required("scale"),
        learns_scale=bool(about.value.get("learns_scale")),
    )


def _layered(about: Reader) -> Layered:
    stages = about.each("stages")
    if len(stages) > _MOST:
        raise bad(about.path, f"{about.place('stages')} should be {_MOST} at most, got {len(stages)}")
    return Layered(
        network=about.name("network"),
        name=about.name("name"),
        shape=_shape(about, "shape"),
        classes=about.whole("classes", 1),
        parameters=about.whole("parameters"),
        layers=about.whole("layers"),
        stages=tuple(_stage(one) for one in stages),
    )


def _stage(about: Reader) -> Stage:
    return Stage(
        what=about.name("what"),
        count=about.whole("count", 1),
        kernel=about.count("kernel"),
        stride=about.count("stride"),
        convolutions=about.count("convolutions"),
        parameters=about.whole("parameters"),
        then=about.texts("then"),
        out=_shape(about, "out"),
    )


def _shape(about: Reader, field: str) -> tuple[int, ...]:
    if not (shape := about.integers(field)) or min(shape) < 1:
        raise bad(about.path, f"{about.place(field)} should be a shape, got {shape}")
    return shape


def _pictures(about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> Pictures:
    dataset, labels, example = about.name("dataset"), about.integers("labels"), about.below("example")
    label, before, after = (example.whole(field) for field in ("label", "before", "after"))
    check_labels(about, (*labels, label, before, after), classes.get(dataset))
    if (path := arrays_path(about, directory)) is None:
        raise about.wrong("arrays", "the name of a file")
    arrays = read_arrays(path)
    for name, count in (("images", len(labels)), ("clean", 1), ("adversarial", 1)):
        if name not in arrays:
            raise bad(path, f"it has no array {name}")
        check_picture(arrays[name], path)
        if len(arrays[name]) != count or arrays[name].shape[1:] != arrays["images"].shape[1:]:
            raise bad(path, f"{name} should be {count} images of one shape, got {arrays[name].shape}")
    return Pictures(dataset, labels, arrays["images"], arrays["clean"], arrays["adversarial"], example.whole("index"), label, before, after)
