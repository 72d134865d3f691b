"""Data sets by name: read, checked, and downloaded where that is allowed."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from qarmor.data import celeba, cifar, digits, idx, npz
from qarmor.data import fetch as fetching
from qarmor.data.content import DataError, Raw, SourceFile, check_dataset, part_names, same_shape, to_images, warn_unofficial
from qarmor.data.fetch import Remote
from qarmor.types import Dataset, named_object

__all__ = ["DataError", "Description", "Report", "check", "describe", "fetch", "load", "names"]

_FASHION_CLASSES = ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
_FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
# md5 of the official files: packed, as downloaded, and unpacked
_MNIST_PACKED = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_MNIST_UNPACKED = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
_FASHION_PACKED = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_FASHION_UNPACKED = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
_CIFAR_ARCHIVE = Remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", ("https://www.cs.toronto.edu/~kriz/",))


@dataclass(frozen=True)
class _Known:
    """A data set that has a name: where it lives under the root, how it is read, and how it is fetched (None: it is not)."""

    shape: str
    classes: tuple[str, ...]
    source: str
    folder: str | None
    read: Callable[[Path], Raw]
    download: Callable[[Path], None] | None
    files: tuple[str, ...] = ()


def _idx(title: str, folder: str, classes: tuple[str, ...], packed: tuple[str, ...], unpacked: tuple[str, ...], mirrors: tuple[str, ...]) -> _Known:
    md5s = dict(zip(idx.NAMES, unpacked, strict=True))
    remotes = tuple(Remote(f"{name}.gz", md5, mirrors) for name, md5 in zip(idx.NAMES, packed, strict=True))
    return _Known(
        "1x28x28",
        classes,
        title,
        folder,
        lambda path: idx.read(path, md5s, classes),
        lambda path: fetching.download_all(remotes, path),
        idx.NAMES,
    )


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("qarmor"))


_DIGITS = tuple(map(str, range(10)))
_KNOWN = {
    "digits": _Known("1x8x8", _DIGITS, "scikit-learn (UCI, CC BY 4.0)", None, lambda path: digits.read(), None),
    "mnist": _idx("LeCun et al., CC BY-SA 3.0", "mnist", _DIGITS, _MNIST_PACKED, _MNIST_UNPACKED, _MNIST_MIRRORS),
    "fashion-mnist": _idx("Zalando, MIT", "fashion-mnist", _FASHION_CLASSES, _FASHION_PACKED, _FASHION_UNPACKED, _FASHION_MIRRORS),
    "cifar2": _Known(
        "3x32x32",
        ("ship", "truck"),
        "CIFAR-10 (Krizhevsky 2009), ships and trucks",
        "cifar-10-batches-bin",
        cifar.read,
        lambda path: fetching.download_cifar(_CIFAR_ARCHIVE, path),
        (*cifar.TRAIN, *cifar.TEST),
    ),
    "celeba": _Known(
        "3x32x32",
        ("not black hair", "black hair"),
        "CelebA (Liu et al. 2015), non-commercial research only, not downloaded",
        "celeba",
        lambda path: celeba.read(path, _cache() / "decoded"),
        None,
        (celeba.IMAGES, celeba.ATTRIBUTES, celeba.PARTITION),
    ),
}


def names() -> tuple[str, ...]:
    """The names that ``load`` knows."""
    return tuple(_KNOWN)


def _root(root: str | Path | None) -> Path:
    return Path(root) if root is not None else Path(os.environ.get("QARMOR_DATA") or _cache() / "data")


def _present(known: _Known, folder: Path) -> bool:
    return all((folder / name).exists() or (folder / f"{name}.gz").exists() for name in known.files)


def _lookup(name: str) -> _Known:
    if name not in _KNOWN:
        close = difflib.get_close_matches(name.lower(), _KNOWN, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"unknown data set {name!r}{hint}; there are {', '.join(_KNOWN)}, paths of .npz files, and package.module:factory")
    return _KNOWN[name]


def _is_factory(name: str) -> bool:
    return ":" in name and not name.endswith(".npz")


def _made(name: str) -> Dataset:
    """What the factory ``package.module:factory`` makes, checked."""
    factory = named_object(name)
    if not callable(factory):
        raise ValueError(f"data set {name!r} must be a factory that returns a qarmor.types.Dataset, it is a {type(factory).__name__}")
    made = factory()
    if not isinstance(made, Dataset):
        raise ValueError(f"data set {name!r} must be a factory that returns a qarmor.types.Dataset, it returned {type(made).__name__}")
    return check_dataset(made)


def _read(name: str, root: str | Path | None) -> Raw:
    if name.endswith(".npz"):
        return npz.read(Path(name))
    known = _lookup(name)
    return known.read(fetch(name, root))


def load(name: str | Path, root: str | Path | None = None) -> Dataset:
    """A data set, checked.

    Args:
        name: one of ``names()``, the path of an .npz file (x_train, y_train, x_test, y_test; uint8 or float in [0, 1];
            ``(N, C, H, W)``, ``(N, H, W)`` or ``(N, d)``), or ``package.module:factory`` of a ``Dataset``.
        root: folder of the data sets; by default ``$QARMOR_DATA``, then the user's cache folder. A missing set is downloaded there.

    Raises:
        ValueError: an unknown name (the message lists the known ones).
        DataError: content that is damaged or not what images and labels must be.
        FileNotFoundError, OSError: files that are missing and cannot be downloaded.
    """
    name = str(name)
    if _is_factory(name):
        return _made(name)
    raw = _read(name, root)
    if name in _KNOWN and (folder := _KNOWN[name].folder):
        warn_unofficial(_root(root) / folder, raw.files)
    return _dataset(name, raw)


def _dataset(name: str, raw: Raw) -> Dataset:
    train, test = part_names(name)
    same_shape(name, raw.x_train.shape[1:], raw.x_test.shape[1:])
    images = to_images(raw.x_train, raw.y_train, len(raw.classes), train, raw.index_train)
    shape = "x".join(map(str, images.x.shape[1:]))
    if name in _KNOWN and shape != _KNOWN[name].shape:
        raise DataError(f"{name}: images must be {_KNOWN[name].shape}, got {shape}; load images of your own from an .npz file")
    return Dataset(
        name,
        images,
        to_images(raw.x_test, raw.y_test, len(raw.classes), test, raw.index_test),
        raw.classes,
        {file.name: file.sha256 for file in raw.files},
    )


def fetch(name: str, root: str | Path | None = None) -> Path:
    """The folder of a named data set, after downloading what is missing.

    Raises:
        ValueError: an unknown name, or one of the user's own data, which is not downloaded.
        FileNotFoundError: a set that is missing and is not downloaded (CelebA).
        OSError: a download that failed.
    """
    if name.endswith(".npz") or _is_factory(name):
        raise ValueError(f"{name} is not downloaded: fetch takes one of {', '.join(_KNOWN)}; load and check take {name} as it is")
    known = _lookup(name)
    if known.folder is None:
        return digits.folder()
    folder = _root(root) / known.folder
    if not _present(known, folder):
        if known.download is None:
            raise FileNotFoundError(celeba.missing(folder))
        known.download(folder)
    return folder


@dataclass(frozen=True)
class Description:
    """A named data set: shape of an image, classes, whether it is here and where, and where it comes from."""

    name: str
    shape: str
    classes: tuple[str, ...]
    present: bool
    folder: Path | None
    source: str


def describe(root: str | Path | None = None) -> list[Description]:
    """All named data sets; reads and downloads nothing."""
    found = []
    for name, known in _KNOWN.items():
        folder = None if known.folder is None else _root(root) / known.folder
        found.append(Description(name, known.shape, known.classes, folder is None or _present(known, folder), folder, known.source))
    return found


@dataclass(frozen=True)
class Report:
    """What ``check`` found: sizes, shape of an image, share of the commonest class in test, (class, train, test) counts, and the files."""

    train: int
    test: int
    shape: tuple[int, ...]
    majority: float
    counts: tuple[tuple[str, int, int], ...]
    files: tuple[SourceFile, ...]


def check(name: str | Path, root: str | Path | None = None) -> Report:
    """Read a data set whole, whatever ``load`` takes, and say what it is. Raises as ``load``; does not warn, since the report says it."""
    name = str(name)
    if _is_factory(name):
        dataset = _made(name)
        files = tuple(SourceFile(file, digest, None) for file, digest in dataset.sources.items())
    else:
        raw = _read(name, root)
        dataset, files = _dataset(name, raw), raw.files
    counts = [images.y.bincount(minlength=len(dataset.classes)).tolist() for images in (dataset.train, dataset.test)]
    table = tuple(zip(dataset.classes, *counts, strict=True))
    majority = max(counts[1]) / len(dataset.test)
    return Report(len(dataset.train), len(dataset.test), dataset.shape, majority, table, files)
