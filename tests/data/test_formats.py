"""Every format: what is read, and every way it can be wrong."""

import io
import json
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from qarmor import data
from qarmor.data import DataError, celeba, cifar

UNOFFICIAL = pytest.mark.filterwarnings("ignore:.*cannot be identified as the official:UserWarning")


def test_digits():
    one, two = data.load("digits"), data.load("digits")
    assert (one.shape, len(one.train), len(one.test), one.classes) == ((1, 8, 8), 1438, 359, tuple("0123456789"))
    assert torch.equal(one.test.x, two.test.x)
    assert (one.train.x.min(), one.train.x.max()) == (0, 1)
    assert (one.train.name, one.test.name) == ("digits/train", "digits/test")
    together = torch.cat([one.train.x, one.test.x]).flatten(1)
    assert len(together.unique(dim=0)) == 1797  # no image on both sides
    assert torch.equal(torch.cat([one.train.index, one.test.index]).sort().values, torch.arange(1797))
    from sklearn.datasets import load_digits

    original = torch.from_numpy(load_digits().images / 16).float()
    assert torch.equal(one.test.x[:, 0], original[one.test.index])
    assert (data.fetch("digits") / "digits.csv.gz").is_file()


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
    write_idx(train_labels_idx1_ubyte=b"\0\0\x08\x01\0\0\0\x14" + bytes(i % 10 for i in range(20, 0, -1)))
    with pytest.warns(UserWarning, match="mnist: train-labels-idx1-ubyte.gz cannot be identified as the official files"):
        data.load("mnist", tmp_path)


def test_official_files_do_not_warn(write_idx, tmp_path, monkeypatch):
    write_idx()
    monkeypatch.setattr("qarmor.data.idx.hashlib.md5", lambda content, usedforsecurity: Digest())
    monkeypatch.setitem(data._KNOWN, "mnist", data._idx("t", "mnist", data._DIGITS, ("",) * 4, ("official",) * 4, ()))
    data.load("mnist", tmp_path)
    assert [file.official for file in data.check("mnist", tmp_path).files] == [True] * 4


class Digest:
    def hexdigest(self) -> str:
        return "official"


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
        (
            "t10k_images_idx3_ubyte",
            b"\0\0\x08\x03\0\0\0\x0a\0\0\0\x1c\0\0\0\x1c" + bytes([9] * 7056 + [0] * 784),
            r"mnist/test: image 9 is all zero \(1 such images\).*; remove it",
        ),
        (
            "t10k_images_idx3_ubyte",
            b"\0\0\x08\x03\0\0\0\x0a\0\0\0\x01\0\0\0\x01" + bytes([9] * 10),
            r"mnist: training images have shape \(28, 28\), test images \(1, 1\); they must be the same",
        ),
        (
            "t10k_images_idx3_ubyte",
            b"\0\0\x08\x03\0\0\0\0\0\0\0\x1c\0\0\0\x1c",
            "has 0 images, t10k-labels-idx1-ubyte has 10 labels; fetch both again",
        ),
    ],
)
@UNOFFICIAL
def test_idx_errors(write_idx, tmp_path, file, content, message):
    write_idx(**{file: content})
    with pytest.raises(DataError, match=message):
        data.load("mnist", tmp_path)


@UNOFFICIAL
def test_idx_of_another_shape(write_idx, tmp_path):
    small = [b"\0\0\x08\x03" + n.to_bytes(4, "big") + b"\0\0\0\x0e\0\0\0\x0e" + b"\1" * 196 * n for n in (20, 10)]
    write_idx(train_images_idx3_ubyte=small[0], t10k_images_idx3_ubyte=small[1])
    with pytest.raises(DataError, match="mnist: images must be 1x28x28, got 1x14x14; load images of your own from an .npz file"):
        data.load("mnist", tmp_path)


def test_a_folder_with_a_file_that_went_missing(write_idx):
    folder = write_idx()
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte.gz is missing; fetch the data set again, or put the file there"):
        data.idx.read(folder, dict.fromkeys(data.idx.NAMES, ""), data._DIGITS)


def test_damaged_gzip(write_idx, tmp_path):
    folder = write_idx()
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    no_such_block = whole[:10] + b"\x07" * 20  # zlib's own error
    for broken in (whole[: len(whole) // 2], b"not gzip at all", whole[:40] + b"\xff" * 40 + whole[80:], no_such_block):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="damaged or truncated: .*; delete it and fetch it again"):
            data.load("mnist", tmp_path)


@UNOFFICIAL
def test_cifar_keeps_ships_and_trucks(write_cifar, tmp_path):
    write_cifar()
    dataset = data.load("cifar2", tmp_path)
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), ("ship", "truck"))
    assert dataset.test.y.tolist() == [0, 1, 0, 1]
    assert dataset.test.index.tolist() == [0, 1, 3, 4]
    assert dataset.train.index.tolist() == [6 * batch + i for batch in range(5) for i in (0, 1, 3, 4)]
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
    for damaged in ("{", "[1]", "\xff"):
        (folder / cifar.MANIFEST).write_text(damaged, "latin-1")
        with pytest.raises(DataError, match="qarmor-verified.json is damaged .*: delete it"):
            data.check("cifar2", tmp_path)
    (folder / cifar.MANIFEST).write_text(json.dumps(digests))
    data.load("cifar2", tmp_path)  # no warning


@UNOFFICIAL
def test_celeba(write_celeba, tmp_path):
    write_celeba()
    dataset = data.load("celeba", tmp_path)
    assert (dataset.shape, len(dataset.train), len(dataset.test)) == ((3, 32, 32), 4, 4)
    assert dataset.train.y.tolist() == [1, 0, 1, 0]
    assert dataset.test.y.tolist() == [1, 0, 1, 0]
    assert (dataset.train.index.tolist(), dataset.test.index.tolist()) == ([0, 1, 2, 3], [6, 7, 8, 9])
    for i, image in enumerate(dataset.train.x, 1):
        assert (image - 20 * i / 255).abs().max() < 0.03  # the dark bands above and below the square are gone
    assert set(dataset.sources) == {celeba.ATTRIBUTES, celeba.PARTITION, f"{celeba.IMAGES}/*.jpg"}


@UNOFFICIAL
def test_celeba_cache_is_used_and_never_stale(write_celeba, tmp_path, monkeypatch):
    folder = write_celeba()
    first = data.load("celeba", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(celeba, "_picture", lambda content, path: pytest.fail("decoded again"))
        assert torch.equal(data.load("celeba", tmp_path).train.x, first.train.x)
    with monkeypatch.context() as patch:  # another way of decoding is another cache
        patch.setattr(celeba, "_DECODER", "2")
        patch.setattr(celeba, "_picture", lambda content, path: np.full((3, 32, 32), 51, np.uint8))
        assert data.load("celeba", tmp_path).train.x.unique().tolist() == pytest.approx([0.2])
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(folder / "img_align_celeba" / "000001.jpg")
    again = data.load("celeba", tmp_path)
    assert abs(again.train.x[0].mean() - 200 / 255) < 0.02
    assert again.sources != first.sources
    kept = list((tmp_path / "cache").rglob("*.npz"))
    other = io.BytesIO()
    np.savez(other, x_train=np.ones((4, 3, 8, 8), np.uint8), x_test=np.ones((4, 3, 32, 32), np.uint8), digest=np.array("0"))
    single = io.BytesIO()
    np.save(single, np.ones(3))
    for damaged in (b"damaged", b"", kept[0].read_bytes()[:1000], other.getvalue(), single.getvalue()):
        for path in kept:
            path.write_bytes(damaged)
        assert torch.equal(data.load("celeba", tmp_path).train.x, again.train.x)
    assert sorted((tmp_path / "cache").rglob("*.npz")) == sorted(kept)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == list((tmp_path / "cache").rglob("*.npz"))


@UNOFFICIAL
def test_celeba_cache_when_the_disk_is_full(write_celeba, tmp_path, monkeypatch):
    write_celeba()

    def full(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(celeba.np, "savez", full)
    assert len(data.load("celeba", tmp_path).train) == 4
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


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
        (
            lambda f: (f / "img_align_celeba" / "000003.jpg").write_bytes(b"\xff\xd8no"),
            DataError,
            "000003.jpg is damaged or no image: .*copy it again",
        ),
        (lambda f: truncate(f / "img_align_celeba" / "000003.jpg"), DataError, "000003.jpg is damaged or no image: .*[Tt]runcated.*; copy it again"),
        (lambda f: shorten(f / "list_attr_celeba.txt", 4), DataError, "its first line says '10' images, it lists 6: truncated"),
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


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def shorten(path, lines):
    path.write_text("".join(path.read_text().splitlines(True)[:-lines]))


def test_celeba_is_never_downloaded(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"CelebA is not in .*celeba: put there img_align_celeba/ .*list_attr_celeba.txt.*partition.*non-commercial"
    ):
        data.load("celeba", tmp_path)
    assert not list(tmp_path.iterdir())


def test_names():
    assert data.names() == ("digits", "mnist", "fashion-mnist", "cifar2", "celeba")
    with pytest.raises(ValueError, match=r"unknown data set 'fashion' \(did you mean fashion-mnist\?\)|unknown data set 'fashion'; there are digits"):
        data.load("fashion")


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
