"""CIFAR-10, ships and trucks: the binary version, which needs no pickle."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qarmor.data.content import DataError, Raw, SourceFile, read_bytes, sha256

TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
MANIFEST = "qarmor-verified.json"  # sha256 of the files that came out of the official archive
_RECORD = 1 + 3 * 32 * 32
_KEPT = (8, 9)  # ship, truck


def _batch(content: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int]:
    """Kept images uint8 ``(n, 3, 32, 32)``, their labels 0 or 1, their positions in the batch, and the number of records."""
    if not content or len(content) % _RECORD:
        raise DataError(f"{path} is truncated or no CIFAR-10 binary batch: {len(content)} bytes are no multiple of {_RECORD}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise DataError(f"{path} has label {labels.max()}; CIFAR-10's are 0 to 9; fetch it again")
    kept = np.flatnonzero(np.isin(labels, _KEPT))
    return records[kept, 1:].reshape(-1, 3, 32, 32), (labels[kept] == _KEPT[1]).astype(np.int64), kept, len(records)


def _verified(manifest: Path) -> dict[str, str]:
    """sha256 by file name, as written after our own download; empty where there was none."""
    try:
        found = json.loads(manifest.read_text()) if manifest.is_file() else {}
    except ValueError as error:
        raise DataError(f"{manifest} is damaged ({error}): delete it") from error
    if not isinstance(found, dict):
        raise DataError(f"{manifest} is damaged (no JSON object): delete it")
    return found


def read(folder: Path) -> Raw:
    """Images of ships (0) and trucks (1) in the batches in ``folder``."""
    verified = _verified(folder / MANIFEST)
    files, parts = [], {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        batches, before = [], 0
        for name in names:
            content = read_bytes(folder / name)
            x, y, kept, records = _batch(content, folder / name)
            batches.append((x, y, before + kept))
            before += records
            digest = sha256(content)
            files.append(SourceFile(name, digest, True if verified.get(name) == digest else False if name in verified else None))
        parts[part] = [np.concatenate(columns) for columns in zip(*batches, strict=True)]
    (x_train, y_train, index_train), (x_test, y_test, index_test) = parts["train"], parts["test"]
    return Raw(x_train, y_train, x_test, y_test, ("ship", "truck"), tuple(files), index_train, index_test)
