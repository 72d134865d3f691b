"""Data sets of the user's own: an .npz file with x_train, y_train, x_test, y_test."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qarmor.data.content import DataError, Raw, SourceFile, class_names, read_bytes, sha256

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path) -> Raw:
    """The four arrays; nothing pickled is read."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    content = read_bytes(path)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise DataError(f"{path} is no .npz file, or a truncated one: write {', '.join(_KEYS)} with numpy.savez")
    arrays = _arrays(path, content)
    classes = class_names(arrays["y_train"], arrays["y_test"], name=str(path))
    x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
    return Raw(x_train, y_train, x_test, y_test, classes, (SourceFile(path.name, sha256(content), None),))


def _arrays(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            absent = [key for key in _KEYS if key not in file.files]
            if absent:
                raise DataError(f"{path} has no array {absent[0]!r}; it must have {', '.join(_KEYS)}, it has {', '.join(file.files) or 'none'}")
            arrays = {key: file[key] for key in _KEYS}
    except DataError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{path} holds Python objects, which are not read: save plain arrays with numpy.savez ({error})") from error
        raise DataError(f"{path} is damaged: {error}; write it again with numpy.savez") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or packed by an unknown method
        raise DataError(f"{path} is damaged or truncated: {error}; write it again with numpy.savez") from error
    if strange := [key for key in _KEYS if not isinstance(arrays[key], np.ndarray)]:  # numpy hands over a member that is no array as bytes
        raise DataError(f"{path}: {strange[0]!r} is no numpy array; write it again with numpy.savez")
    return arrays
