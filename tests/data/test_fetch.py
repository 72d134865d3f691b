"""Downloads against a server on 127.0.0.1: mirrors in turn, hashes, truncation, retries, nothing half-written."""

import dataclasses
import hashlib
import io
import json
import logging
import multiprocessing
import tarfile
import zlib

import pytest

from qarmor import data
from qarmor.data import DataError, cifar
from qarmor.data import fetch as fetching_function
from qarmor.data.fetch import Remote, download, download_all, download_cifar, extract

BODY = b"the right bytes" * 1000


def remote(*mirrors, name="file.gz", body=BODY):
    return Remote(name, hashlib.md5(body).hexdigest(), mirrors)


def left(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_the_first_mirror_that_has_the_file(mirror, tmp_path):
    mirror.answers = {"/b/file.gz": [(200, BODY, None)]}
    path = download(remote(mirror.url("a"), mirror.url("b")), tmp_path / "new")
    assert path.read_bytes() == BODY
    assert set(mirror.asked) == {"/a/file.gz", "/b/file.gz"}
    assert left(tmp_path) == ["file.gz"]


def test_a_server_that_fails_once_is_asked_again(mirror, tmp_path):
    mirror.answers = {"/a/file.gz": [(503, b"", None), (200, BODY, None)]}
    assert download(remote(mirror.url("a")), tmp_path).read_bytes() == BODY
    assert mirror.asked == ["/a/file.gz"] * 2


def test_every_mirror_and_why_it_failed(mirror, tmp_path, caplog):
    mirror.answers = {"/a/file.gz": [(404, b"", None)], "/b/file.gz": [(200, b"wrong", None)]}
    caplog.set_level(logging.INFO, "qarmor.data")
    with pytest.raises(OSError, match=r"/a/file.gz: .*404.*; .*/b/file.gz: the file has another hash\): put"):
        download(remote(mirror.url("a"), mirror.url("b")), tmp_path)
    assert [r.getMessage() for r in caplog.records if r.name == "qarmor.data"] == [f"downloading {mirror.url(m)}file.gz" for m in "ab"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b"other bytes", None), "the file has another hash"),
        ((200, BODY[:500], None), "the file has another hash"),
        ((200, BODY[:500], len(BODY)), "IncompleteRead|Connection broken"),
        ((404, b"", None), "404"),
        ((500, b"", None), "500"),
    ],
)
def test_nothing_is_kept_of_a_wrong_file(mirror, tmp_path, answer, reason):
    mirror.answers = {"/a/file.gz": [answer]}
    with pytest.raises(
        OSError, match=rf"could not download file.gz into .* from any mirror \(.*/a/file.gz: .*({reason}).*\): put the file there yourself"
    ):
        download(remote(mirror.url("a")), tmp_path)
    assert left(tmp_path) == []


def test_a_wrong_file_on_one_mirror_the_right_one_on_the_next(mirror, tmp_path):
    mirror.answers = {"/a/file.gz": [(200, b"wrong", None)], "/b/file.gz": [(200, BODY, None)]}
    assert download(remote(mirror.url("a"), mirror.url("b")), tmp_path).read_bytes() == BODY
    assert left(tmp_path) == ["file.gz"]


def test_a_mirror_that_is_not_there(tmp_path, mirror):
    with pytest.raises(OSError, match=r"could not download .*127.0.0.1:9/file.gz"):
        download(remote("http://127.0.0.1:9/"), tmp_path)


def test_only_what_is_missing_is_downloaded(mirror, tmp_path):
    (tmp_path / "one").write_bytes(b"unpacked, and there")
    mirror.answers = {"/a/two.gz": [(200, BODY, None)]}
    download_all([remote(mirror.url("a"), name="one.gz"), remote(mirror.url("a"), name="two.gz")], tmp_path)
    assert mirror.asked == ["/a/two.gz"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to .*: set QARMOR_DATA to a folder that can be written"):
        download(remote("http://127.0.0.1:9/"), tmp_path / "file" / "below")
    with pytest.raises(OSError, match="cannot write to .*: set QARMOR_DATA to a folder that can be written"):
        download_cifar(remote("http://127.0.0.1:9/"), tmp_path / "file" / "cifar-10-batches-bin")


def _in_a_process(url, folder, archive):
    download(remote(url), folder)
    download_cifar(remote(url, name="c.tar.gz", body=archive), folder / "cifar")


def test_two_processes_at_once(mirror, tmp_path):
    archive = tar(BATCHES)
    mirror.answers = {"/a/file.gz": [(200, BODY, None)], "/a/c.tar.gz": [(200, archive, None)]}
    context = multiprocessing.get_context("spawn")
    runners = [context.Process(target=_in_a_process, args=(mirror.url("a"), tmp_path, archive)) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert [runner.exitcode for runner in runners] == [0, 0]
    assert (tmp_path / "file.gz").read_bytes() == BODY
    assert left(tmp_path) == sorted(["file.gz", *cifar.TRAIN, *cifar.TEST, cifar.MANIFEST])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar", "file.gz"]


def tar(members: dict[str, bytes], extra=(), gz=True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if gz else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


BATCHES = {f"cifar-10-batches-bin/{name}": name.encode() * 10 for name in (*cifar.TRAIN, *cifar.TEST)}


def test_cifar_archive(mirror, tmp_path):
    body = tar({**BATCHES, "cifar-10-batches-bin/readme.html": b"hello"})
    mirror.answers = {"/a/cifar.tar.gz": [(200, body, None)]}
    folder = tmp_path / "root" / "cifar-10-batches-bin"
    download_cifar(remote(mirror.url("a"), name="cifar.tar.gz", body=body), folder)
    assert left(folder) == sorted([*cifar.TRAIN, *cifar.TEST, cifar.MANIFEST])
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_cifar_batches_that_are_there_stay(mirror, tmp_path):
    body = tar(BATCHES)
    mirror.answers = {"/a/cifar.tar.gz": [(200, body, None)]}
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(b"my own")
    download_cifar(remote(mirror.url("a"), name="cifar.tar.gz", body=body), folder)
    assert (folder / "data_batch_1.bin").read_bytes() == b"my own"
    assert left(tmp_path) == sorted([*cifar.TRAIN, *cifar.TEST, cifar.MANIFEST])
    manifest = json.loads((folder / cifar.MANIFEST).read_text())
    assert manifest["data_batch_1.bin"] == hashlib.sha256(BATCHES["cifar-10-batches-bin/data_batch_1.bin"]).hexdigest()
    assert manifest["test_batch.bin"] == hashlib.sha256((folder / "test_batch.bin").read_bytes()).hexdigest()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_extraction_is_safe(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    evil = {"../secret": b"gotcha", "/tmp/qarmor-evil": b"gotcha", "cifar-10-batches-bin/../../secret": b"gotcha", "other.bin": b"x"}
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar({**evil, **BATCHES}, [link("cifar-10-batches-bin/link", "/etc"), link("x", "../secret", tarfile.LNKTYPE)]))
    extract(archive, tmp_path / "out")
    assert left(tmp_path / "out") == sorted([*cifar.TRAIN, *cifar.TEST])
    assert secret.read_text() == "untouched"


def test_a_link_in_place_of_a_batch(tmp_path):
    archive = tmp_path / "a.tar.gz"
    fewer = {k: v for k, v in BATCHES.items() if "test_batch" not in k}
    archive.write_bytes(tar(fewer, [link("cifar-10-batches-bin/test_batch.bin", "/etc/passwd")]))
    with pytest.raises(DataError, match="a.tar.gz has no test_batch.bin: it is not the binary version of CIFAR-10"):
        extract(archive, tmp_path / "out")


def test_damaged_archives(tmp_path):
    whole = tar(BATCHES)
    for number, content in enumerate((whole[: len(whole) // 2], b"nothing", b"", whole[:60] + bytes(20) + whole[80:])):
        archive = tmp_path / f"{number}.tar.gz"
        archive.write_bytes(content)
        with pytest.raises(DataError, match="is damaged or truncated|has no data_batch|has no test_batch"):
            extract(archive, tmp_path / str(number))
    packer = zlib.compressobj(wbits=31)
    large = tar({"cifar-10-batches-bin/test_batch.bin": bytes(400_000)}, gz=False)
    no_such_block = packer.compress(large[:200_000]) + packer.flush(zlib.Z_FULL_FLUSH) + b"\x07" * 20  # zlib's own error, inside a member
    archive = tmp_path / "zlib.tar.gz"
    archive.write_bytes(no_such_block)
    with pytest.raises(DataError, match="zlib.tar.gz is damaged or truncated: .*invalid block type"):
        extract(archive, tmp_path / "zlib")
    huge = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    huge.size = 1 << 40
    archive = tmp_path / "huge.tar.gz"
    archive.write_bytes(tar({}, []))
    with tarfile.open(archive, "w:gz") as out:
        out.fileobj.write(huge.tobuf())
    with pytest.raises(DataError, match="claims 1099511627776 bytes; that is not CIFAR-10"):
        extract(archive, tmp_path / "huge")


def test_a_failed_cifar_download_leaves_nothing(mirror, tmp_path):
    mirror.answers = {"/a/cifar.tar.gz": [(200, b"not it", None)]}
    with pytest.raises(OSError, match="another hash"):
        download_cifar(remote(mirror.url("a"), name="cifar.tar.gz"), tmp_path / "cifar-10-batches-bin")
    assert left(tmp_path) == []


def test_load_fetches_what_is_missing(mirror, tmp_path, write_idx, monkeypatch):
    source = write_idx(name="elsewhere")
    remotes = tuple(remote(mirror.url("m"), name=p.name, body=p.read_bytes()) for p in sorted(source.iterdir()))
    mirror.answers = {f"/m/{p.name}": [(200, p.read_bytes(), None)] for p in source.iterdir()}
    known = data._KNOWN["mnist"]
    monkeypatch.setitem(data._KNOWN, "mnist", dataclasses.replace(known, download=lambda folder: download_all(remotes, folder)))
    root = tmp_path / "root"
    assert fetching_function("mnist", root) == root / "mnist"
    with pytest.warns(UserWarning, match="cannot be identified as the official files"):
        assert len(data.load("mnist", root).train) == 20
    asked = len(mirror.asked)
    fetching_function("mnist", root)
    assert len(mirror.asked) == asked == 4
