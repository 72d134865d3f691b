"""The files of a results directory, read and checked: the only place where the report touches its inputs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qarmor.types import Rows

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """What ``provenance.json`` says of one network; None or ``""`` where it doesn't say."""

    name: str
    kind: str
    architecture: str
    parameters: int | None
    recipe: str
    clean_accuracy: float | None
    seconds: float | None
    sha256: str


@dataclass(frozen=True)
class DatasetNote:
    """What ``provenance.json`` says of the data set."""

    name: str
    train: int | None
    test: int | None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    majority: float | None


@dataclass(frozen=True)
class Provenance:
    """How the results were made."""

    title: str
    command: str
    started: str
    seconds: float | None
    machine: str
    versions: Mapping[str, str]
    seeds: Mapping[str, Any]
    sources: Mapping[str, str]
    networks: Mapping[str, Network]
    dataset: DatasetNote
    circuit_kernel: str


@dataclass(frozen=True)
class Curve:
    """Training of one network: loss at ``steps``, accuracy at ``accuracy_steps``."""

    steps: tuple[float, ...]
    loss: tuple[float, ...]
    accuracy_steps: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class GalleryNetwork:
    """Clean images, perturbations and adversarial images ``(n, C, H, W)`` of one network, with what it said of them."""

    clean: Array
    adversarial: Array
    perturbation: Array
    labels: tuple[int, ...]
    clean_predictions: tuple[int, ...]
    adversarial_predictions: tuple[int, ...]
    low_frequency_share: float | None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Perturbations of a few images, by network."""

    eps: float
    attack: str
    classes: tuple[str, ...]
    networks: Mapping[str, GalleryNetwork]


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Class probabilities ``(len(eps), K)`` of one image against eps, by network; ``image`` is ``(C, H, W)`` or None."""

    label: int
    classes: tuple[str, ...]
    attack: str
    eps: tuple[float, ...]
    networks: Mapping[str, tuple[tuple[float, ...], ...]]
    image: Array | None


@dataclass(frozen=True, eq=False)
class Inputs:
    """A results directory. A part whose file isn't there is None."""

    directory: Path
    rows: Rows
    provenance: Provenance
    history: Mapping[str, Curve] | None
    gallery: Gallery | None
    probabilities: Probabilities | None


def load_directory(directory: Path) -> Inputs:
    """Reads and checks every file of ``directory``.

    Raises:
        FileNotFoundError: the directory, ``rows.json`` or ``provenance.json`` is missing.
        ValueError: a file is there and isn't what it should be.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"report: {directory} is not a directory; give the folder that `qarmor demo` or `qarmor run` wrote")
    return Inputs(
        directory=directory,
        rows=_rows(directory / "rows.json"),
        provenance=_provenance(directory / "provenance.json"),
        history=_history(directory / "history.json"),
        gallery=_gallery(directory / "gallery.json"),
        probabilities=_probabilities(directory / "probabilities.json"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"report: {path} is missing; make the results again, e.g. with `qarmor demo --out {path.parent}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, str(error)) from error


def _bad(path: Path, why: str) -> ValueError:
    return ValueError(f"report: {path} is damaged or of another format ({why}); make the results again or, if it is optional, delete it")


def _rows(path: Path) -> Rows:
    text = _text(path)
    try:
        rows = Rows.from_json(text)
        for row in rows:
            for number in (row.value, row.low, row.high, row.successes, row.n):
                float(number)
    except (ValueError, TypeError) as error:
        raise _bad(path, str(error)) from error
    if not rows:
        raise ValueError(f"report: {path} holds no rows; a report needs at least one result")
    return rows


class _Reader:
    """Typed look-ups in a parsed JSON object; each failure is a ValueError that names the file and the field."""

    def __init__(self, path: Path, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise _bad(path, f"{where or 'the whole file'} should be an object, got {type(value).__name__}")
        self.path, self.value, self.where = path, value, where

    @classmethod
    def open(cls, path: Path) -> _Reader:
        try:
            return cls(path, json.loads(_text(path)))
        except json.JSONDecodeError as error:
            raise _bad(path, f"not JSON: {error}") from error

    def _wrong(self, field: str, wanted: str) -> ValueError:
        name = f"{self.where}.{field}" if self.where else field
        got = type(self.value[field]).__name__ if field in self.value else "nothing"
        return _bad(self.path, f"{name} should be {wanted}, got {got}")

    def text(self, field: str) -> str:
        """A string; ``""`` where the field is absent or null."""
        value = self.value.get(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(field, "text")
        return value

    def number(self, field: str) -> float | None:
        """A number; None where the field is absent or null."""
        value = self.value.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(field, "a number")
        return float(value)

    def count(self, field: str) -> int | None:
        """A whole number; None where the field is absent or null."""
        value = self.number(field)
        return None if value is None else int(value)

    def required(self, field: str) -> float:
        """A number that must be there."""
        value = self.number(field)
        if value is None:
            raise self._wrong(field, "a number")
        return value

    def numbers(self, field: str) -> tuple[float, ...]:
        """A list of numbers that must be there."""
        value = self.value.get(field)
        if not isinstance(value, list) or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in value):
            raise self._wrong(field, "a list of numbers")
        return tuple(float(x) for x in value)

    def integers(self, field: str) -> tuple[int, ...]:
        """A list of whole numbers that must be there."""
        return tuple(int(x) for x in self.numbers(field))

    def items(self, field: str) -> list[Any]:
        """A list of anything that must be there."""
        value = self.value.get(field)
        if not isinstance(value, list):
            raise self._wrong(field, "a list")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list, each member as text; empty where the field is absent."""
        value = self.value.get(field, [])
        if not isinstance(value, list):
            raise self._wrong(field, "a list")
        return tuple(str(x) for x in value)

    def mapping(self, field: str) -> dict[str, Any]:
        """An object; empty where the field is absent."""
        value = self.value.get(field, {})
        if not isinstance(value, dict):
            raise self._wrong(field, "an object")
        return value

    def below(self, field: str) -> _Reader:
        """The object in ``field``."""
        return _Reader(self.path, self.value.get(field), f"{self.where}.{field}" if self.where else field)


def _provenance(path: Path) -> Provenance:
    file = _Reader.open(path)
    if "title" not in file.value or "networks" not in file.value:
        raise _bad(path, "title and networks must be there")
    networks = file.below("networks")
    note = _Reader(path, file.mapping("dataset"), "dataset")
    return Provenance(
        title=file.text("title"),
        command=file.text("command"),
        started=file.text("started"),
        seconds=file.number("seconds"),
        machine=file.text("machine"),
        versions={name: str(version) for name, version in file.mapping("versions").items()},
        seeds=file.mapping("seeds"),
        sources={name: str(sha) for name, sha in file.mapping("sources").items()},
        networks={name: _network(name, networks.below(name)) for name in networks.value},
        dataset=DatasetNote(
            name=note.text("name"),
            train=note.count("train"),
            test=note.count("test"),
            shape=tuple(int(size) for size in note.numbers("shape")) if "shape" in note.value else (),
            classes=note.texts("classes"),
            majority=note.number("majority"),
        ),
        circuit_kernel=file.text("circuit_kernel"),
    )


def _network(name: str, about: _Reader) -> Network:
    return Network(
        name=name,
        kind=about.text("kind"),
        architecture=about.text("architecture"),
        parameters=about.count("parameters"),
        recipe=about.text("recipe"),
        clean_accuracy=about.number("clean_accuracy"),
        seconds=about.number("seconds"),
        sha256=about.text("sha256"),
    )


def _history(path: Path) -> Mapping[str, Curve] | None:
    if not path.exists():
        return None
    file = _Reader.open(path)
    curves = {}
    for name in file.value:
        about = file.below(name)
        curve = Curve(about.numbers("steps"), about.numbers("loss"), about.numbers("accuracy_steps"), about.numbers("accuracy"))
        if len(curve.steps) != len(curve.loss) or len(curve.accuracy_steps) != len(curve.accuracy):
            raise _bad(path, f"{name}: {len(curve.steps)} steps for {len(curve.loss)} losses, {len(curve.accuracy_steps)} for {len(curve.accuracy)}")
        curves[name] = curve
    return curves


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"report: {path} is missing beside {path.stem}.json; make the results again or delete {path.stem}.json") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _bad(path, str(error)) from error


def _gallery(path: Path) -> Gallery | None:
    if not path.exists():
        return None
    file, arrays = _Reader.open(path), _arrays(path.with_suffix(".npz"))
    networks, classes = file.below("networks"), file.texts("classes")
    return Gallery(
        eps=file.required("eps"),
        attack=file.text("attack"),
        classes=classes,
        networks={name: _gallery_network(name, networks.below(name), arrays, len(classes)) for name in networks.value},
    )


def _gallery_network(name: str, about: _Reader, arrays: Mapping[str, Array], classes: int) -> GalleryNetwork:
    path = about.path.with_suffix(".npz")
    parts = {}
    for part in ("clean", "adversarial", "perturbation"):
        if f"{name}/{part}" not in arrays:
            raise _bad(path, f"it has no array {name}/{part}")
        parts[part] = _pictures(arrays[f"{name}/{part}"], path, f"{name}/{part}")
    labels, before, after = (about.integers(field) for field in ("labels", "clean_predictions", "adversarial_predictions"))
    if len({part.shape for part in parts.values()}) != 1 or {len(labels), len(before), len(after)} != {len(parts["clean"])}:
        raise _bad(path, f"{name}: clean, adversarial, perturbation, labels and predictions differ in number or shape")
    _check_labels(about.path, (*labels, *before, *after), classes)
    return GalleryNetwork(
        **parts,
        labels=labels,
        clean_predictions=before,
        adversarial_predictions=after,
        low_frequency_share=about.number("low_frequency_share"),
    )


def _pictures(array: Array, path: Path, name: str) -> Array:
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not np.isfinite(array).all():
        raise _bad(path, f"{name} should be finite and (n, C, H, W) with C 1 or 3, got shape {array.shape}")
    return array


def _check_labels(path: Path, labels: Sequence[int], classes: int) -> None:
    for label in labels:
        if not 0 <= label < classes:
            raise _bad(path, f"label {label} with {classes} classes")


def _probabilities(path: Path) -> Probabilities | None:
    if not path.exists():
        return None
    file = _Reader.open(path)
    eps, classes, label = file.numbers("eps"), file.texts("classes"), int(file.required("label"))
    _check_labels(path, [label], len(classes))
    networks = {}
    for name in file.mapping("networks"):
        table = _Reader(path, {str(i): line for i, line in enumerate(file.below("networks").items(name))}, f"networks.{name}")
        networks[name] = tuple(table.numbers(str(i)) for i in range(len(table.value)))
        if len(networks[name]) != len(eps) or any(len(line) != len(classes) for line in networks[name]):
            raise _bad(path, f"networks.{name} should be {len(eps)} lists (one an eps) of {len(classes)} probabilities")
    image = None
    if (arrays := path.with_suffix(".npz")).exists():
        images = _arrays(arrays)
        if "image" not in images:
            raise _bad(arrays, "it has no array image")
        image = _pictures(images["image"][None], arrays, "image")[0]
    return Probabilities(label, classes, file.text("attack"), eps, networks, image)
