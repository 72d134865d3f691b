"""Every format: what is read, and every way it can be wrong."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from qarmor import data
from qarmor.data import DataError, celeba, cifar
from qarmor.data.content import _warned
from qarmor.types import Dataset


@pytest.fixture(autouse=True)
def _forget_warnings():
    _warned.clear()


UNOFFICIAL = pytest.mark.filterwarnings("ignore:.*cannot be identified as the official:UserWarning")


def test_digits():
    one, two = data.load("digits"), data.load("digits")
    assert (one.shape, len(one.train), len(one.test), one.classes) == ((1, 8, 8), 1438, 359, tuple("0123456789"))
    assert torch.equal(one.test.x, two.test.x)
    assert (one.train.x.min(), one.train.x.max()) == (0, 1)
    assert (one.train.name, one.test.name) == ("digits/train", "digits/test")
    together = torch.cat([one.train.x, one.test.x]).flatten(1)
    assert len(together.unique(dim=0)) == 1797  # no image on both sides


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@UNOFFICIAL
def test_idx(write_idx, tmp_path, packed, name):
    write_idx(packed=packed, name=name)
    dataset = data.load(name, tmp_path)
    assert dataset.shape == (1, 28, 28)
    assert dataset.train.y.tolist() == [i % 10 for i in range(20)]
    assert dataset.train.x.dtype == torch.float32
    assert len(dataset.sources) == 4
    assert all(len(digest) == 64 for digest in dataset.sources.values())
    assert (dataset.classes[0] == "0") == (name == "mnist")


def test_unofficial_files_are_used_with_a_warning_that_comes_once(write_idx, tmp_path):
    write_idx()
    message = r"mnist: train-images-idx3-ubyte.gz, .* cannot be identified as the official files; they are used, and their sha256 is recorded"
    with pytest.warns(UserWarning, match=message) as caught:
        data.load("mnist", tmp_path)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("mnist", tmp_path)
    assert [file.official for file in data.check("mnist", tmp_path).files] == [False] * 4


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "train_images_idx3_ubyte",
            b"\0\0\x08\x03\0\0\0\x14\0\0\0\x1c\0\0\0\x1c123",
            r"train-images.* is truncated: its header says 15696 bytes .* it has 19",
        ),
        ("train_labels_idx1_ubyte", b"\0\0\x08\x01\0\0\0\x01\x01\x01", "is too long"),
        ("train_labels_idx1_ubyte", b"<html>not here</html>", "is no IDX file of 1 dimensions: it begins with 3c68746d"),
        ("train_labels_idx1_ubyte", b"", "is no IDX file of 1 dimensions: it begins with nothing"),
        ("train_labels_idx1_ubyte", b"\0\0\x08\x01\0\0\0\x02\x01\x00", "has 20 images, train-labels-idx1-ubyte has 2 labels"),
        ("t10k_labels_idx1_ubyte", b"\0\0\x08\x01\0\0\0\x0a" + bytes([10] * 10), "mnist/test: labels must be from 0 to 9, got labels from 10 to 10"),
        ("t10k_labels_idx1_ubyte", b"\0\0\x08\x01\0\0\0\x0a" + bytes([1] * 10), r"mnist/test: class 0 has no images \(9 empty of 10 classes\)"),
        ("t10k_images_idx3_ubyte", b"\0\0\x08\x03\0\0\0\x0a\0\0\0\x01\0\0\0\x01" + bytes([9] * 9 + [0]), "mnist/test: image 9 is all zero"),
    ],
)
@UNOFFICIAL
def test_idx_errors(write_idx, tmp_path, file, content, message):
    write_idx(**{file: content})
    with pytest.raises(DataError, match=message):
        data.load("mnist", tmp_path)


def test_damaged_gzip(write_idx, tmp_path):
    folder = write_idx()
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not gzip at all", whole[:40] + b"\xff" * 40 + whole[80:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="damaged or truncated: .*; delete it and fetch it again"):
            data.load("mnist", tmp_path)


@UNOFFICIAL
def test_cifar_keeps_ships_and_trucks(write_cifar, tmp_path):
    write_cifar()
    dataset = data.load("cifar2", tmp_path)
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), ("ship", "truck"))
    assert dataset.test.y.tolist() == [0, 1, 0, 1]
    assert len(dataset.train) == 20
    record = (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").read_bytes()
    assert dataset.test.x[0, 1, 0, 2] == pytest.approx(record[1 + 1024 + 2] / 255)


@UNOFFICIAL
def test_cifar_errors(write_cifar, tmp_path):
    folder = write_cifar()
    path = folder / "data_batch_2.bin"
    whole = path.read_bytes()
    for broken, message in ((whole[:-1], "is truncated or no CIFAR-10 binary batch"), (b"", "is truncated"), (b"\x0b" + whole[1:], "has label 11")):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=message):
            data.load("cifar2", tmp_path)


def test_cifar_knows_the_files_of_its_own_download(write_cifar, tmp_path):
    folder = write_cifar()
    assert [f.official for f in data.check("cifar2", tmp_path).files] == [None] * 6
    digests = {f.name: f.sha256 for f in data.check("cifar2", tmp_path).files}
    (folder / cifar.MANIFEST).write_text(json.dumps({**digests, "data_batch_1.bin": "0" * 64}))
    assert [f.official for f in data.check("cifar2", tmp_path).files] == [False, True, True, True, True, True]


@UNOFFICIAL
def test_celeba(write_celeba, tmp_path):
    write_celeba()
    dataset = data.load("celeba", tmp_path)
    assert (dataset.shape, len(dataset.train), len(dataset.test)) == ((3, 32, 32), 4, 4)
    assert dataset.train.y.tolist() == [1, 0, 1, 0]
    assert dataset.test.y.tolist() == [1, 0, 1, 0]
    for i, image in enumerate(dataset.train.x, 1):
        assert (image - 20 * i / 255).abs().max() < 0.03  # the dark bands above and below the square are gone
    assert set(dataset.sources) == {celeba.ATTRIBUTES, celeba.PARTITION, f"{celeba.IMAGES}/*.jpg"}


@UNOFFICIAL
def test_celeba_cache_is_used_and_never_stale(write_celeba, tmp_path, monkeypatch):
    folder = write_celeba()
    first = data.load("celeba", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(celeba, "_picture", lambda path: pytest.fail("decoded again"))
        assert torch.equal(data.load("celeba", tmp_path).train.x, first.train.x)
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(folder / "img_align_celeba" / "000001.jpg")
    again = data.load("celeba", tmp_path)
    assert abs(again.train.x[0].mean() - 200 / 255) < 0.02
    assert again.sources != first.sources
    (cached,) = [
        p for p in (tmp_path / "cache").rglob("*.npz") if p.stat().st_mtime == max(q.stat().st_mtime for q in (tmp_path / "cache").rglob("*.npz"))
    ]
    cached.write_bytes(b"damaged")
    assert torch.equal(data.load("celeba", tmp_path).train.x, again.train.x)


@UNOFFICIAL
def test_celeba_without_a_writable_cache(write_celeba, tmp_path, monkeypatch):
    write_celeba()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(data.load("celeba", tmp_path).train) == 4


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: (f / "img_align_celeba" / "000003.jpg").unlink(), FileNotFoundError, "000003.jpg is missing, but list_attr_celeba.txt lists it"),
        (lambda f: (f / "img_align_celeba" / "000003.jpg").write_bytes(b"\xff\xd8no"), DataError, "000003.jpg is damaged or no image"),
        (
            lambda f: (f / "list_attr_celeba.txt").write_text("2\nBald Smiling\na -1 1\n"),
            DataError,
            "must name the attributes, Black_Hair among them",
        ),
        (
            lambda f: (f / "list_attr_celeba.txt").write_text("1\nBald Black_Hair\n000001.jpg -1 0\n"),
            DataError,
            "line 3: expected a file name and 2 values",
        ),
        (lambda f: (f / "list_eval_partition.txt").write_text("000001.jpg 3\n"), DataError, "line 1: expected a file name and 0, 1 or 2"),
        (lambda f: (f / "list_eval_partition.txt").write_text("000001.jpg 0\n"), DataError, "image 000002.jpg of list_attr_celeba.txt is not in it"),
    ],
)
@UNOFFICIAL
def test_celeba_errors(write_celeba, tmp_path, spoil, error, message):
    spoil(write_celeba())
    with pytest.raises(error, match=message):
        data.load("celeba", tmp_path)


def test_celeba_is_never_downloaded(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"CelebA is not in .*celeba: put there img_align_celeba/ .*list_attr_celeba.txt.*partition.*non-commercial"
    ):
        data.load("celeba", tmp_path)
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(DataError, match="damaged or truncated"):
        data.load(str(path))
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match="is no .npz file"):
        data.load(str(path))
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.npz"):
        data.load(str(tmp_path / "nothing.npz"))


def test_names(tmp_path, monkeypatch):
    assert data.names() == ("digits", "mnist", "fashion-mnist", "cifar2", "celeba")
    with pytest.raises(ValueError, match=r"unknown data set 'fashion' \(did you mean fashion-mnist\?\)|unknown data set 'fashion'; there are digits"):
        data.load("fashion")
    (tmp_path / "mine_for_data.py").write_text("from qarmor import data\ndef make():\n    return data.load('digits')\ndef wrong():\n    return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(data.load("mine_for_data:make"), Dataset)
    with pytest.raises(ValueError, match="must be a factory that returns a qarmor.types.Dataset, it returned int"):
        data.load("mine_for_data:wrong")


@UNOFFICIAL
def test_describe_and_the_environment(write_idx, tmp_path, monkeypatch):
    assert {d.name: d.present for d in data.describe(tmp_path)} == {
        "digits": True,
        "mnist": False,
        "fashion-mnist": False,
        "cifar2": False,
        "celeba": False,
    }
    write_idx()
    monkeypatch.setenv("QARMOR_DATA", str(tmp_path))
    assert {d.name for d in data.describe() if d.present} == {"digits", "mnist"}
    assert len(data.load("mnist").train) == 20
    report = data.check("mnist")
    assert (report.train, report.test, report.shape, report.majority) == (20, 10, (1, 28, 28), 0.1)
    assert report.counts[3] == ("3", 2, 1)
