"""Data of the user's own: .npz files and factories, and every way they can be wrong."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from qarmor import data
from qarmor.data import DataError
from qarmor.types import Dataset


def arrays(shape=(4, 4), n=6, dtype=np.float32):
    x = np.random.default_rng(0).random((n, *shape)).astype(dtype) + (1 if dtype == np.uint8 else 0)
    return {"x_train": x, "y_train": np.arange(n) % 2, "x_test": x, "y_test": np.arange(n) % 2}


@pytest.mark.parametrize(("shape", "wanted"), [((4, 5), (1, 4, 5)), ((3, 4, 5), (3, 4, 5)), ((7,), (7,))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_npz(tmp_path, shape, wanted, dtype):
    np.savez(tmp_path / "a.npz", **arrays(shape, dtype=dtype))
    dataset = data.load(str(tmp_path / "a.npz"))
    assert dataset.shape == wanted
    assert dataset.classes == ("0", "1")
    assert dataset.train.x.dtype == torch.float32
    if dtype == np.uint8:
        assert dataset.train.x.max() <= 2 / 255


def changed(key, value):
    return lambda a: {**a, key: value(a[key])}


def poked(value):
    def poke(x):
        x = x.copy()
        x[3, 1] = value
        return x

    return poke


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("x_train", poked(np.nan)), r"train: image 3 has values that are NaN or infinite \(1 such images\)"),
        (changed("x_test", poked(np.inf)), "test: image 3 has values that are NaN or infinite"),
        (changed("x_train", lambda x: x * 255), r"train: values must be in \[0, 1\], got values from .* divide by the largest possible value"),
        (changed("x_train", lambda x: x - 0.5), r"values must be in \[0, 1\], got values from -0"),
        (changed("x_train", lambda x: x.astype(np.int64)), r"images must be uint8, or float in \[0, 1\], got int64"),
        (changed("x_train", lambda x: x * (np.arange(6) != 2)[:, None, None]), "train: image 2 is all zero"),
        (changed("x_train", lambda x: x[:0]), "train: there are no images"),
        (changed("x_train", lambda x: x[:3]), r"train: there must be one label an image, \(3,\), got shape \(6,\)"),
        (changed("x_train", lambda x: x[:, :3]), r"training images have shape \(3, 4\), test images \(4, 4\)"),
        (lambda a: {**a, "x_train": a["x_train"].ravel(), "x_test": a["x_test"].ravel()}, r"images must be \(N, C, H, W\), .* got shape \(96,\)"),
        (changed("y_train", lambda y: y + 0.5), "labels must be whole numbers, got float64"),
        (changed("y_train", lambda y: y - 1), "train: labels must be from 0 to 1, got labels from -1 to 0"),
        (changed("y_test", lambda y: y * 0), "test: class 1 has no images"),
        (lambda a: {**a, "y_train": a["y_train"] * 2, "y_test": a["y_test"] * 2}, "train: class 1 has no images"),
        (lambda a: {**a, "y_train": a["y_train"] * 0, "y_test": a["y_test"] * 0}, "at least two classes"),
        (lambda a: {**a, "y_train": a["y_train"] * 5000}, "labels must be from 0 to 999, got label 5000"),
        (changed("y_train", lambda y: y[:, None]), r"one label an image, \(6,\), got shape \(6, 1\)"),
        (lambda a: {k: v for k, v in a.items() if k != "y_test"}, "has no array 'y_test'; it must have x_train, y_train, x_test, y_test"),
        (changed("x_train", lambda x: np.array([None] * 6)), "holds Python objects, which are not read"),
    ],
)
def test_npz_errors(tmp_path, change, message):
    np.savez(tmp_path / "a.npz", **change(arrays()))
    with pytest.raises(DataError, match=message):
        data.load(str(tmp_path / "a.npz"))


def test_npz_files_that_are_something_else(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    whole = path.read_bytes()
    for content in (b"hello", b"", b"PK\x03\x04broken", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is no .npz file, or a truncated one: write x_train, y_train, x_test, y_test with numpy.savez"):
            data.load(str(path))
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    with pytest.raises(DataError, match="damaged or truncated: .*; write it again with numpy.savez"):
        data.load(str(path))
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            new.writestr(member, old.read(member).replace(b"'descr'", b"'dxscr'"))
    with pytest.raises(DataError, match="a.npz is damaged: Header does not .*; write it again with numpy.savez"):
        data.load(str(path))
    with zipfile.ZipFile(path, "w") as file:
        for key in arrays():
            file.writestr(f"{key}.npy", b"just text")
    with pytest.raises(DataError, match="'x_train' is no numpy array; write it again with numpy.savez"):
        data.load(str(path))
    path.write_bytes(unknown_method(whole))
    with pytest.raises(DataError, match="damaged or truncated: .*compression"):
        data.load(str(path))
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match="is no .npz file"):
        data.load(str(path))
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.npz"):
        data.load(str(tmp_path / "nothing.npz"))


def unknown_method(whole: bytes) -> bytes:
    """The same archive, said to be packed by method 97, which no library has."""
    return whole.replace(b"PK\x01\x02" + whole[whole.index(b"PK\x01\x02") + 4 :][:6] + b"\0\0", b"PK\x01\x02" + b"\x14\x03\x14\0\0\0" + b"\x61\0")


def test_an_npz_of_pathlib(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    assert data.load(tmp_path / "a.npz").name == str(tmp_path / "a.npz") == str(Path(data.load(tmp_path / "a.npz").test.name).parent)
    assert data.check(tmp_path / "a.npz").counts == (("0", 3, 3), ("1", 3, 3))


FACTORIES = """
import dataclasses, torch
from qarmor import data
from qarmor.types import Images
def make():
    return data.load("digits")
thing = make()
def wrong():
    return 3
def changed(**new):
    return dataclasses.replace(thing, train=dataclasses.replace(thing.train, **new))
def nan():
    return changed(x=thing.train.x / 0)
def double():
    return changed(x=thing.train.x.double())
def other_shape():
    return changed(x=thing.train.x[:, :, 1:7])
def range_():
    return changed(x=thing.train.x * 16)
def labels():
    return changed(y=thing.train.y + 1)
def one_class():
    return dataclasses.replace(thing, classes=("0",))
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "mine_for_data.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_factory_wherever_a_name_goes(factories):
    assert isinstance(data.load("mine_for_data:make"), Dataset)
    report = data.check("mine_for_data:make")
    assert (report.train, report.test, [f.name for f in report.files]) == (1438, 359, ["sklearn.datasets.load_digits"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "must be a factory that returns a qarmor.types.Dataset, it returned int"),
        ("thing", "must be a factory that returns a qarmor.types.Dataset, it is a Dataset"),
        ("nothing", "has no 'nothing'"),
        ("nan", "digits/train: image 0 has values that are NaN or infinite"),
        ("double", "digits/train: x must be float32 and y int64, got torch.float64 and torch.int64; convert them"),
        ("other_shape", r"digits: training images have shape \(1, 6, 8\), test images \(1, 8, 8\)"),
        ("range_", r"values must be in \[0, 1\], got values from 0 to 16; divide"),
        ("labels", "labels must be from 0 to 9, got labels from 1 to 10; number the classes from 0"),
        ("one_class", "digits: there must be at least two classes"),
    ],
)
@pytest.mark.parametrize("read", [data.load, data.check])
def test_factories_that_are_wrong(factories, name, message, read):
    with pytest.raises(ValueError, match=message):
        read(f"mine_for_data:{name}")


def test_own_data_is_not_fetched():
    for name in ("a.npz", "package.module:make"):
        with pytest.raises(ValueError, match=f"{name} is not downloaded: fetch takes one of digits, mnist, .*; load and check take {name} as it is"):
            data.fetch(name)
    with pytest.raises(ValueError, match="unknown data set 'mnits' .did you mean mnist.*; there are digits, mnist"):
        data.fetch("mnits")
