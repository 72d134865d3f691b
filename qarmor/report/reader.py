"""Files read with care: every failure is one line that names the file, the field, what is wrong and what to do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def bad(path: Path, why: str) -> ValueError:
    """The error of a file that is there and isn't what it should be; ``why`` is brought to one line."""
    return ValueError(f"report: {path} is damaged or of another format ({' '.join(why.split())}); run the study again, which writes it anew")


def read_text(path: Path) -> str:
    """The text of ``path``.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it can't be read, or isn't UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"report: {path} is missing; run the study again with `qarmor run STUDY --out {path.parent}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise bad(path, str(error)) from error


def read_json(path: Path) -> Any:
    """The JSON value in ``path``; raises as ``read_text`` does, ValueError also where it isn't JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise bad(path, f"not JSON: {error}") from error


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz``, float32, by name; pickled objects are refused.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is not an ``.npz`` of numbers.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"report: {path} is missing, though results.json names it; run the study again, which writes it anew") from None
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise bad(path, str(error)) from error


class Reader:
    """Typed look-ups in a parsed JSON object. A field that is absent counts as null.

    Args:
        path: the file, for messages.
        value: the parsed object.
        where: place of the object in the file, for messages.

    Raises:
        ValueError: ``value`` is no object; likewise from every method, where a field is of another type.
    """

    def __init__(self, path: Path, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise bad(path, f"{where or 'the whole file'} should be an object, got {_kind(value)}")
        self.path, self.value, self.where = path, value, where

    def place(self, field: str) -> str:
        """``field`` with the way to it, e.g. ``"networks[3].seed"``."""
        return f"{self.where}.{field}" if self.where else field

    def wrong(self, field: str, wanted: str) -> ValueError:
        """The error that ``field`` should be ``wanted``."""
        return bad(self.path, f"{self.place(field)} should be {wanted}, got {_kind(self.value.get(field))}")

    def text(self, field: str) -> str:
        """A string; ``""`` for null."""
        value = self.value.get(field)
        if value is not None and not isinstance(value, str):
            raise self.wrong(field, "text")
        return value or ""

    def name(self, field: str) -> str:
        """A string that must be there."""
        if not (text := self.text(field)):
            raise self.wrong(field, "text that is not empty")
        return text

    def number(self, field: str) -> float | None:
        """A number, or None for null."""
        value = self.value.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(field, "a number")
        return float(value)

    def required(self, field: str) -> float:
        """A number that must be there."""
        if (value := self.number(field)) is None:
            raise self.wrong(field, "a number")
        return value

    def count(self, field: str) -> int | None:
        """A whole number, or None for null."""
        value = self.number(field)
        if value is not None and not value.is_integer():
            raise self.wrong(field, "a whole number")
        return None if value is None else int(value)

    def whole(self, field: str, least: int = 0) -> int:
        """A whole number of at least ``least`` that must be there."""
        value = self.count(field)
        if value is None or value < least:
            raise bad(self.path, f"{self.place(field)} should be a whole number, {least} or more, got {value}")
        return value

    def items(self, field: str) -> list[Any]:
        """A list; empty for null."""
        value = self.value.get(field)
        if value is not None and not isinstance(value, list):
            raise self.wrong(field, "a list")
        return value or []

    def numbers(self, field: str) -> tuple[float, ...]:
        """A list of numbers; empty for null."""
        value = self.items(field)
        if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in value):
            raise self.wrong(field, "a list of numbers")
        return tuple(float(x) for x in value)

    def integers(self, field: str) -> tuple[int, ...]:
        """A list of whole numbers; empty for null."""
        value = self.items(field)
        if not all(isinstance(x, int) and not isinstance(x, bool) for x in value):
            raise self.wrong(field, "a list of whole numbers")
        return tuple(value)

    def texts(self, field: str) -> tuple[str, ...]:
        """A list, each member as text; empty for null."""
        return tuple(str(x) for x in self.items(field))

    def mapping(self, field: str) -> dict[str, Any]:
        """An object; empty for null."""
        value = self.value.get(field)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(field, "an object")
        return value or {}

    def below(self, field: str) -> Reader:
        """The object in ``field``."""
        return Reader(self.path, self.value.get(field), self.place(field))

    def each(self, field: str) -> list[Reader]:
        """The objects listed in ``field``; none for null."""
        return [Reader(self.path, value, f"{self.place(field)}[{i}]") for i, value in enumerate(self.items(field))]

    def named(self, field: str) -> dict[str, Reader]:
        """The objects in the object ``field``, by name; none for null."""
        return {name: Reader(self.path, value, self.place(f"{field}.{name}")) for name, value in self.mapping(field).items()}


def check_picture(array: Array, path: Path) -> None:
    """Raises ValueError unless ``array`` of ``path`` holds pictures."""
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape[2:] or not np.isfinite(array).all():
        raise bad(path, f"images should be finite and (k, C, H, W) with C 1 or 3, got shape {array.shape}")


def arrays_path(about: Reader, directory: Path) -> Path | None:
    """The file of arrays that an entry names, None for none. Raises ValueError for one elsewhere than below ``directory``."""
    text = about.text("arrays")
    if not text:
        return None
    if "\0" in text or not (path := directory / text).resolve().is_relative_to(directory.resolve()):
        raise bad(about.path, f"{about.place('arrays')} should be a file below the directory, got {text!r}")
    return path


def check_labels(about: Reader, labels: Sequence[int], classes: Sequence[Any] | None) -> None:
    """Raises ValueError for a label that is no class."""
    for label in labels:
        if label < 0 or (classes and label >= len(classes)):
            raise bad(about.path, f"{about.where}: label {label} with {len(classes or ())} classes")


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
