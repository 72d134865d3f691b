"""CelebA, black hair or not: aligned JPEGs, cropped to the centre square and averaged down to 32x32."""

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from qarmor.data.content import DataError, Raw, SourceFile, read_bytes, sha256

IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
_OFFICIAL_MD5 = {ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c", PARTITION: "d32c9cbf5e040fd4025c592c306e6668"}
_ATTRIBUTE = "Black_Hair"
_SIDE = 32
_CLASSES = ("not black hair", "black hair")
_NUMBER_OF_PART = {"0": "train", "1": "", "2": "test"}  # 1, validation, is dropped


def missing(folder: Path) -> str:
    """What to do where CelebA is not there: it is never downloaded, since its licence must be accepted."""
    return (
        f"CelebA is not in {folder}: put there {IMAGES}/ (the JPEGs of img_align_celeba.zip), {ATTRIBUTES} and {PARTITION}; "
        "its licence (non-commercial research only) must be accepted at mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )


def _labels(text: str, path: Path) -> dict[str, int]:
    """Label of every image in the attributes file."""
    lines = text.splitlines()
    header = lines[1].split() if len(lines) > 1 else []
    if _ATTRIBUTE not in header:
        raise DataError(f"{path}: its second line must name the attributes, {_ATTRIBUTE} among them")
    column = header.index(_ATTRIBUTE) + 1
    labels = {}
    for number, line in enumerate(lines[2:], 3):
        fields = line.split()
        if len(fields) != len(header) + 1 or fields[column] not in ("1", "-1"):
            raise DataError(f"{path}, line {number}: expected a file name and {len(header)} values of 1 or -1, got {line[:60]!r}")
        labels[fields[0]] = int(fields[column] == "1")
    return labels


def _parts(text: str, path: Path) -> dict[str, str]:
    """``"train"``, ``"test"`` or ``""`` for every image in the partition file."""
    parts = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in _NUMBER_OF_PART:
            raise DataError(f"{path}, line {number}: expected a file name and 0, 1 or 2, got {line[:60]!r}")
        parts[fields[0]] = _NUMBER_OF_PART[fields[1]]
    return parts


def _picture(path: Path) -> NDArray[np.uint8]:
    """uint8 ``(3, 32, 32)``: centre square, area average."""
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side))
            return np.asarray(square.resize((_SIDE, _SIDE), Image.Resampling.BOX)).transpose(2, 0, 1)
    except (UnidentifiedImageError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"{path} is damaged or no image: {error}") from error


def _cached(cache: Path, mark: str) -> dict[str, NDArray[Any]] | None:
    try:
        with np.load(cache / f"celeba-{mark}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in ("x_train", "x_test", "digest")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: decoded anew


def _keep(cache: Path, mark: str, arrays: dict[str, NDArray[Any]]) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".part", delete=False) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(file.name, cache / f"celeba-{mark}.npz")
    except OSError:
        return  # a cache that cannot be written only costs time


def read(folder: Path, cache: Path) -> Raw:
    """The images that both text files in ``folder`` list; decoded arrays are kept in ``cache``."""
    texts = {name: read_bytes(folder / name) for name in (ATTRIBUTES, PARTITION)}
    labels = _labels(texts[ATTRIBUTES].decode(errors="replace"), folder / ATTRIBUTES)
    parts = _parts(texts[PARTITION].decode(errors="replace"), folder / PARTITION)
    if unlisted := next((name for name in labels if name not in parts), None):
        raise DataError(f"{folder / PARTITION}: image {unlisted} of {ATTRIBUTES} is not in it")
    names = {part: [name for name in sorted(labels) if parts[name] == part] for part in ("train", "test")}
    mark = hashlib.sha256(b"".join(texts.values()))
    for name in (*names["train"], *names["test"]):
        path = folder / IMAGES / name
        try:
            state = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing, but {ATTRIBUTES} lists it") from None
        mark.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    arrays = _cached(cache, mark.hexdigest())
    if arrays is None:
        arrays = _decode(folder, names)
        _keep(cache, mark.hexdigest(), arrays)
    files = [SourceFile(name, sha256(text), hashlib.md5(text).hexdigest() == _OFFICIAL_MD5[name]) for name, text in texts.items()]
    files.append(SourceFile(f"{IMAGES}/*.jpg", str(arrays["digest"]), None))
    y = {part: np.array([labels[name] for name in names[part]], dtype=np.int64) for part in names}
    return Raw(arrays["x_train"], y["train"], arrays["x_test"], y["test"], _CLASSES, tuple(files))


def _decode(folder: Path, names: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    digest = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {}
    for part, listed in names.items():
        for name in listed:
            digest.update(f"{name} {sha256(read_bytes(folder / IMAGES / name))}\n".encode())
        pictures = [_picture(folder / IMAGES / name) for name in listed]
        arrays[f"x_{part}"] = np.stack(pictures) if pictures else np.zeros((0, 3, _SIDE, _SIDE), np.uint8)
    return {**arrays, "digest": np.array(digest.hexdigest())}
