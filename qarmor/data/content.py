"""What every data set must be: the checks that turn raw arrays into images, and the identity of the files read."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qarmor.types import Dataset, Images


class DataError(ValueError):
    """The content of a data set is not what it must be; the message names file or argument, what came, and what to do."""


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: name, sha256, and whether it is the official one (None where that cannot be known)."""

    name: str
    sha256: str
    official: bool | None

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "the official file", False: "NOT the official file", None: "no official hash to compare with"}[self.official]


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set as its reader leaves it: arrays, names of the classes, the files, and the positions in the original set (None: 0, 1, ...)."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    classes: tuple[str, ...]
    files: tuple[SourceFile, ...]
    index_train: NDArray[np.int64] | None = None
    index_test: NDArray[np.int64] | None = None


def sha256(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises FileNotFoundError in words."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None


_warned: set[tuple[Path, str]] = set()


def warn_unofficial(folder: Path, files: Sequence[SourceFile]) -> None:
    """Say once a process for each file in ``folder`` (a changed one is another file) that it is not, or is not known to be, the official one."""
    odd = {(folder / file.name, file.sha256): file.name for file in files if not file.official}
    new = [name for key, name in odd.items() if key not in _warned]
    if not new:
        return
    _warned.update(odd)
    text = f"{folder}: {', '.join(new)} cannot be identified as the official files; they are used, and their sha256 is recorded"
    warnings.warn(text, UserWarning, stacklevel=3)


def to_images(x: NDArray[Any], y: NDArray[Any], classes: int, name: str, index: NDArray[np.int64] | None = None) -> Images:
    """Checked images.

    Args:
        x: uint8 in [0, 255] or float in [0, 1]; ``(N, C, H, W)``, ``(N, H, W)`` or ``(N, d)``.
        y: whole numbers ``(N,)``.
        classes: labels run from 0 to ``classes - 1``.
        name: of data set and part, for messages.
        index: positions in the original set ``(N,)``; 0, 1, ... by default.

    Returns:
        ``x`` float32 ``(N, C, H, W)`` or ``(N, d)`` in [0, 1], ``y`` and ``index`` int64.

    Raises:
        DataError: wrong shapes or types, no images, NaN, values outside [0, 1], all-zero images, labels out of range, an empty class.
    """
    if x.ndim not in (2, 3, 4):
        raise DataError(f"{name}: images must be (N, C, H, W), (N, H, W) or (N, d), got shape {x.shape}")
    if not len(x):
        raise DataError(f"{name}: there are no images; every part needs some of each class")
    if 0 in x.shape:
        raise DataError(f"{name}: images have no pixels, got shape {x.shape}; every size must be at least 1")
    labels = _labels(y, len(x), classes, name)
    values = _pixels(x, name)
    black = np.flatnonzero(~values.reshape(len(x), -1).any(1))
    if len(black):
        raise DataError(f"{name}: image {black[0]} is all zero ({len(black)} such images): amplitude encoding has no state for it; remove it")
    if values.ndim == 3:
        values = values[:, None]
    positions = torch.arange(len(labels)) if index is None else torch.from_numpy(index)
    return Images(torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(labels), positions, name)


def same_shape(name: str, train: tuple[int, ...], test: tuple[int, ...]) -> None:
    """Refuse a data set whose parts have images of different shapes. Raises DataError."""
    if train != test:
        raise DataError(f"{name}: training images have shape {train}, test images {test}; they must be the same")


def check_dataset(dataset: Dataset) -> Dataset:
    """``dataset``, made by somebody else, after the checks that our own readers' arrays go through.

    Raises:
        DataError: as ``to_images``, images that are not float32 or labels that are not int64, parts that differ in shape, one class only.
    """
    if len(dataset.classes) < 2:
        raise DataError(f"{dataset.name}: there must be at least two classes, got {dataset.classes}")
    for images in (dataset.train, dataset.test):
        if images.x.dtype != torch.float32 or images.y.dtype != torch.int64:
            raise DataError(f"{images.name}: x must be float32 and y int64, got {images.x.dtype} and {images.y.dtype}; convert them")
        to_images(images.x.detach().cpu().numpy(), images.y.cpu().numpy(), len(dataset.classes), images.name)
    same_shape(dataset.name, tuple(dataset.train.x.shape[1:]), tuple(dataset.test.x.shape[1:]))
    return dataset


def _pixels(x: NDArray[Any], name: str) -> NDArray[np.float32]:
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    if not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{name}: images must be uint8, or float in [0, 1], got {x.dtype}; convert them")
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(bad):
        raise DataError(f"{name}: image {bad[0]} has values that are NaN or infinite ({len(bad)} such images); remove or repair them")
    low, high = x.min(), x.max()
    if low < 0 or high > 1:
        raise DataError(f"{name}: values must be in [0, 1], got values from {low:g} to {high:g}; divide by the largest possible value")
    return x.astype(np.float32)


def _labels(y: NDArray[Any], n: int, classes: int, name: str) -> NDArray[np.int64]:
    if y.shape != (n,):
        raise DataError(f"{name}: there must be one label an image, ({n},), got shape {y.shape}; check that images and labels belong together")
    if not np.issubdtype(y.dtype, np.integer) or y.dtype == np.bool_:
        raise DataError(f"{name}: labels must be whole numbers, got {y.dtype}; convert them with astype(numpy.int64)")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise DataError(f"{name}: labels must be from 0 to {classes - 1}, got labels from {low} to {high}; number the classes from 0")
    empty = sorted(set(range(classes)) - set(np.unique(y).tolist()))
    if empty:
        remedy = "number the classes without gaps, and split so that each is in train and in test"
        raise DataError(f"{name}: class {empty[0]} has no images ({len(empty)} empty of {classes} classes); {remedy}")
    return y.astype(np.int64)


def class_names(*labels: NDArray[Any], name: str) -> tuple[str, ...]:
    """``"0"``, ``"1"``, ... up to the largest label. Raises DataError if there are fewer than two classes, or labels are no whole numbers."""
    for y in labels:
        if not np.issubdtype(y.dtype, np.integer):
            raise DataError(f"{name}: labels must be whole numbers, got {y.dtype}; convert them with astype(numpy.int64)")
    largest = max((int(y.max()) for y in labels if y.size), default=-1)
    if largest < 1:
        raise DataError(f"{name}: there must be at least two classes, labels from 0 on, got the largest label {largest}")
    if largest >= 1000:
        raise DataError(f"{name}: labels must be from 0 to 999, got label {largest}; number the classes from 0")
    return tuple(map(str, range(largest + 1)))


def part_names(name: str) -> Sequence[str]:
    """Names of the training and the test part."""
    return (f"{name}/train", f"{name}/test")
