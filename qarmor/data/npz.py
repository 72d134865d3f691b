"""Data sets of the user's own: an .npz file with x_train, y_train, x_test, y_test."""

import zipfile
from pathlib import Path

import numpy as np

from qarmor.data.content import DataError, Raw, SourceFile, class_names, read_bytes, sha256

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path) -> Raw:
    """The four arrays; nothing pickled is read."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array, not an archive of {', '.join(_KEYS)}: write it with numpy.savez")
            absent = [key for key in _KEYS if key not in file.files]
            if absent:
                raise DataError(f"{path} has no array {absent[0]!r}; it must have {', '.join(_KEYS)}, it has {', '.join(file.files) or 'none'}")
            arrays = {key: file[key] for key in _KEYS}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged or truncated: {error}") from error
    except DataError:
        raise
    except ValueError as error:
        what = "holds Python objects, which are not read" if "pickle" in str(error).lower() or "object" in str(error).lower() else "is no .npz file"
        raise DataError(f"{path} {what}: save plain arrays with numpy.savez ({error})") from error
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise DataError(f"{path}: training images have shape {arrays['x_train'].shape[1:]}, test images {arrays['x_test'].shape[1:]}")
    classes = class_names(arrays["y_train"], arrays["y_test"], name=str(path))
    x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
    return Raw(x_train, y_train, x_test, y_test, classes, (SourceFile(path.name, sha256(read_bytes(path)), None),))
