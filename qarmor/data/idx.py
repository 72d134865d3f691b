"""MNIST and Fashion-MNIST: four IDX files, gzip or not (LeCun's format)."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qarmor.data.content import DataError, Raw, SourceFile, read_bytes, sha256

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_MAGIC = {1: 0x801, 3: 0x803}


def find(folder: Path, name: str) -> Path | None:
    """The file, plain or gzip, or None."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def parse(content: bytes, dimensions: int, path: Path) -> NDArray[np.uint8]:
    """Unsigned bytes of an IDX file with ``dimensions`` dimensions. Raises DataError if it is another file, truncated or too long."""
    header = 4 + 4 * dimensions
    if len(content) < header or int.from_bytes(content[:4], "big") != _MAGIC[dimensions]:
        raise DataError(f"{path} is no IDX file of {dimensions} dimensions: it begins with {content[:4].hex() or 'nothing'}; fetch it again")
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise DataError(f"{path} is {what}: its header says {expected} bytes for shape {tuple(shape)}, it has {len(content)}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _unpacked(data: bytes, path: Path) -> bytes:
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or truncated: {error}; delete it and fetch it again") from error


def read(folder: Path, md5s: Mapping[str, str], classes: tuple[str, ...]) -> Raw:
    """The four files in ``folder``; ``md5s`` are those of the official contents, unpacked."""
    arrays: dict[str, NDArray[Any]] = {}
    files = []
    for name in NAMES:
        path = find(folder, name)
        if path is None:
            raise FileNotFoundError(f"{folder / name}.gz is missing; fetch the data set again, or put the file there")
        data = read_bytes(path)
        content = _unpacked(data, path)
        arrays[name] = parse(content, 3 if "images" in name else 1, path)
        files.append(SourceFile(path.name, sha256(data), hashlib.md5(content, usedforsecurity=False).hexdigest() == md5s[name]))
    for images, labels in (NAMES[:2], NAMES[2:]):
        if len(arrays[images]) != len(arrays[labels]):
            raise DataError(f"{folder}: {images} has {len(arrays[images])} images, {labels} has {len(arrays[labels])} labels; fetch both again")
    x_train, y_train, x_test, y_test = (arrays[name] for name in NAMES)
    return Raw(x_train, y_train, x_test, y_test, classes, tuple(files))
