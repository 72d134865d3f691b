"""CelebA, black hair or not: aligned JPEGs, cropped to the centre square and averaged down to 32x32."""

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from qarmor.data.content import DataError, Raw, SourceFile, read_bytes, sha256

IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
_OFFICIAL_MD5 = {ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c", PARTITION: "d32c9cbf5e040fd4025c592c306e6668"}
_ATTRIBUTE = "Black_Hair"
_SIDE = 32
_DECODER = f"1, Pillow {PIL.__version__}"  # change the number with the decoding, so that older caches are not used
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
            raise DataError(f"{path}, line {number}: expected a file name and {len(header)} values of 1 or -1, got {line[:60]!r}; copy it again")
        labels[fields[0]] = int(fields[column] == "1")
    if lines[0].strip() != str(len(labels)):
        raise DataError(f"{path}: its first line says {lines[0][:20]!r} images, it lists {len(labels)}: truncated? Copy it again")
    return labels


def _parts(text: str, path: Path) -> dict[str, str]:
    """``"train"``, ``"test"`` or ``""`` for every image in the partition file."""
    parts = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in _NUMBER_OF_PART:
            raise DataError(f"{path}, line {number}: expected a file name and 0, 1 or 2, got {line[:60]!r}; copy it again")
        parts[fields[0]] = _NUMBER_OF_PART[fields[1]]
    return parts


def _picture(content: bytes, path: Path) -> NDArray[np.uint8]:
    """uint8 ``(3, 32, 32)``: centre square, area average."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side))
            return np.asarray(square.resize((_SIDE, _SIDE), Image.Resampling.BOX)).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise DataError(f"{path} is damaged or no image: {error}; copy it again") from error


def _cached(cache: Path, mark: str, names: dict[str, list[str]]) -> dict[str, NDArray[Any]] | None:
    try:
        # numpy leaves a damaged file open that it opened itself
        with open(cache / f"celeba-{mark}.npz", "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x_train", "x_test", "digest")}
        whole = all(
            arrays[f"x_{part}"].shape == (len(listed), 3, _SIDE, _SIDE) and arrays[f"x_{part}"].dtype == np.uint8 for part, listed in names.items()
        )
        return arrays if whole else None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error):  # damaged: decoded anew
        return None


def _keep(cache: Path, mark: str, arrays: dict[str, NDArray[Any]]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".celeba-") as temporary:
            np.savez(Path(temporary) / "new.npz", **arrays)  # type: ignore[arg-type]
            os.replace(Path(temporary) / "new.npz", cache / f"celeba-{mark}.npz")


def read(folder: Path, cache: Path) -> Raw:
    """The images that both text files in ``folder`` list; decoded arrays are kept in ``cache``."""
    texts = {name: read_bytes(folder / name) for name in (ATTRIBUTES, PARTITION)}
    labels = _labels(texts[ATTRIBUTES].decode(errors="replace"), folder / ATTRIBUTES)
    parts = _parts(texts[PARTITION].decode(errors="replace"), folder / PARTITION)
    if unlisted := next((name for name in labels if name not in parts), None):
        raise DataError(f"{folder / PARTITION}: image {unlisted} of {ATTRIBUTES} is not in it; copy it again")
    names = {part: [name for name in sorted(labels) if parts[name] == part] for part in ("train", "test")}
    mark = hashlib.sha256("\n".join([_DECODER, *map(sha256, texts.values())]).encode())
    for name in (*names["train"], *names["test"]):
        path = folder / IMAGES / name
        try:
            state = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing, but {ATTRIBUTES} lists it; copy it again") from None
        mark.update(f"\n{path} {state.st_size} {state.st_mtime_ns}".encode())
    arrays = _cached(cache, mark.hexdigest(), names)
    if arrays is None:
        arrays = _decode(folder, names)
        _keep(cache, mark.hexdigest(), arrays)
    files = [
        SourceFile(name, sha256(text), hashlib.md5(text, usedforsecurity=False).hexdigest() == _OFFICIAL_MD5[name]) for name, text in texts.items()
    ]
    files.append(SourceFile(f"{IMAGES}/*.jpg", str(arrays["digest"]), None))
    y = {part: np.array([labels[name] for name in names[part]], dtype=np.int64) for part in names}
    position = {name: i for i, name in enumerate(sorted(labels))}
    index = {part: np.array([position[name] for name in names[part]], dtype=np.int64) for part in names}
    return Raw(arrays["x_train"], y["train"], arrays["x_test"], y["test"], _CLASSES, tuple(files), index["train"], index["test"])


def _decode(folder: Path, names: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    digest = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {}
    for part, listed in names.items():
        pictures = []
        for name in listed:
            content = read_bytes(folder / IMAGES / name)
            digest.update(f"{name} {sha256(content)}\n".encode())
            pictures.append(_picture(content, folder / IMAGES / name))
        arrays[f"x_{part}"] = np.stack(pictures) if pictures else np.zeros((0, 3, _SIDE, _SIDE), np.uint8)
    return {**arrays, "digest": np.array(digest.hexdigest())}
