"""The store: artefacts are there whole or not at all, damage is found, and locks are held by one."""

import errno
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qarmor.studies import store as under_test
from qarmor.studies.store import MANIFEST, Damaged, Store, StoreError, canonical, digest

KEY = digest("a task")
OTHER = digest("another task")
SPEC = {"eps": 0.1, "images": {"n": 6, "seed": 0}}


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


def fill(folder: Path) -> dict:
    (folder / "rows.json").write_text("[1, 2, 3]")
    (folder / "deep").mkdir()
    (folder / "deep" / "images.safetensors").write_bytes(bytes(range(200)))
    (folder / "empty").write_bytes(b"")
    return {"seconds": 1.5, "label": "a task"}


def write(store: Store, key: str = KEY, fill=fill) -> Path:
    store.write(key, "craft", SPEC, {"source": OTHER}, fill)
    return store.folder(key)


def everything(store: Store) -> set[str]:
    """All files of a store but locks that nobody holds and the journal."""
    files = (p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file())
    return {name for name in files if not name.startswith("locks/") and name != "journal.jsonl"}


def test_write_and_read(store):
    assert not store.has(KEY)
    folder = write(store)
    assert store.has(KEY)
    assert store.sound(KEY)
    manifest = store.check(KEY)
    assert manifest == store.manifest(KEY)
    assert (manifest.key, manifest.kind, manifest.spec, manifest.inputs) == (KEY, "craft", SPEC, {"source": OTHER})
    assert set(manifest.files) == {"rows.json", "deep/images.safetensors", "empty"}
    assert manifest.made == {"seconds": 1.5, "label": "a task"}
    assert (folder / "rows.json").read_text() == "[1, 2, 3]"
    assert everything(store) == {f"objects/{KEY[:2]}/{KEY}/{name}" for name in (*manifest.files, MANIFEST)}


def test_an_artefact_that_is_not_there(store):
    assert not store.sound(KEY)
    with pytest.raises(Damaged, match="its manifest cannot be read"):
        store.check(KEY)


@pytest.mark.parametrize("name", ["rows.json", "deep/images.safetensors"])
@pytest.mark.parametrize("place", [0, 0.5, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_of_a_file_is_found(store, name, place, bit):
    path = write(store) / name
    flip(path, place if isinstance(place, int) else int(place * path.stat().st_size), bit)
    with pytest.raises(Damaged, match=f"artefact {KEY[:12]} in .*{KEY}: {name} was changed after it was written") as caught:
        store.check(KEY)
    assert caught.value.key == KEY
    assert "\n" not in caught.value.strerror
    assert store.manifest(KEY)


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_one_flipped_bit_in_each_byte_of_the_manifest_is_found(store):
    path = write(store) / MANIFEST
    whole = path.read_bytes()
    for place in range(len(whole)):
        flip(path, place, place % 8)
        with pytest.raises(Damaged, match=f"{KEY[:12]} in .*its manifest"):
            store.check(KEY)
        path.write_bytes(whole)
    store.check(KEY)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"3", b'"text"', b"null", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none(store, content):
    (write(store) / MANIFEST).write_bytes(content)
    with pytest.raises(Damaged, match="its manifest cannot be read"):
        store.check(KEY)
    assert not store.sound(KEY)
    write(store)
    assert store.sound(KEY)


def test_the_manifest_of_another_artefact(store):
    folder, other = write(store), write(store, OTHER)
    (folder / MANIFEST).write_bytes((other / MANIFEST).read_bytes())
    with pytest.raises(Damaged, match="its manifest was changed"):
        store.check(KEY)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda folder: (folder / "rows.json").unlink(), "lacks a file, rows.json"),
        (lambda folder: (folder / "empty").unlink(), "lacks a file, empty"),
        (lambda folder: (folder / "deep" / "new").write_text(""), "has a file that does not belong to it, deep/new"),
        (lambda folder: (folder / "rows.json").rename(folder / "row.json"), "has a file that does not belong to it, row.json"),
        (lambda folder: (folder / "rows.json").write_text("[1, 2]"), "rows.json was changed"),
        (lambda folder: (folder / "link").symlink_to("nowhere"), "has a file that does not belong to it, link"),
        (lambda folder: (folder / MANIFEST).unlink(), "its manifest cannot be read"),
    ],
    ids=["missing", "empty missing", "surplus", "renamed", "shorter", "link", "no manifest"],
)
def test_damage_is_set_aside_said_once_and_made_again(store, caplog, damage, what):
    folder = write(store)
    damage(folder)
    left = sorted(p.name for p in folder.iterdir())
    with caplog.at_level(logging.WARNING, logger="qarmor.store"):
        assert not store.sound(KEY)
        assert not store.sound(KEY)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in said
    assert KEY[:12] in said
    assert what in said
    assert "will be made again" in said
    (aside,) = (store.root / "damaged").iterdir()
    assert str(aside) in said
    assert sorted(p.name for p in (aside / "artefact").iterdir()) == left
    assert not store.has(KEY)
    assert not folder.exists()
    write(store)
    assert store.sound(KEY)


def test_what_is_in_the_way_is_set_aside_when_an_artefact_is_written(store):
    folder = write(store)
    (folder / "rows.json").write_text("something else")
    write(store)
    assert store.check(KEY)
    (aside,) = (store.root / "damaged").iterdir()
    assert (aside / "artefact" / "rows.json").read_text() == "something else"


def test_setting_aside_what_another_process_has_set_aside(store):
    assert not store.set_aside(KEY).exists()
    assert list((store.root / "damaged").iterdir()) == []


class Unexpected(Exception):
    pass


def test_an_interrupted_write_leaves_nothing(store):
    for trouble in (Unexpected, KeyboardInterrupt):

        def broken(folder: Path, trouble=trouble) -> dict:
            fill(folder)
            raise trouble

        with pytest.raises(trouble):
            write(store, fill=broken)
        assert everything(store) == set()
        assert list((store.root / "tmp").iterdir()) == []
        assert not store.has(KEY)
    write(store)
    assert store.sound(KEY)


def test_what_a_manifest_cannot_hold_leaves_nothing(store):
    with pytest.raises(ValueError):
        write(store, fill=lambda folder: {"loss": math.nan})
    assert everything(store) == set()


def test_checkpoint_and_progress_go_when_the_artefact_is_there_and_stay_when_not(store):
    store.checkpoint(KEY).write_text("state")
    store.progress_file(KEY).write_text("half")
    store.checkpoint(OTHER).write_text("state")
    with pytest.raises(Unexpected):
        write(store, fill=raises(Unexpected()))
    assert store.checkpoint(KEY).exists()
    write(store)
    assert sorted(p.name for p in (store.root / "work").iterdir()) == [store.checkpoint(OTHER).name]


def raises(error: BaseException):
    def broken(folder: Path) -> dict:
        (folder / "half").write_text("")
        raise error

    return broken


def test_leftovers_of_a_killed_process_are_cleared_under_the_lock_of_their_key(store):
    for key in (KEY, OTHER):
        (store.root / "tmp" / f"{key}.abc").mkdir()
        (store.root / "tmp" / f"{key}.abc" / "half").write_text("x")
        (store.root / "work" / f".{key}.progress.123").write_text("x")
        store.checkpoint(key).write_text("state")
    with store.lock(KEY) as free:
        assert free
        names = sorted(p.name for part in ("tmp", "work") for p in (store.root / part).iterdir())
        assert names == sorted([f"{OTHER}.abc", f".{OTHER}.progress.123", f"{KEY}.checkpoint", f"{OTHER}.checkpoint"])


def test_the_lock_file_goes_once_the_artefact_is_there(store):
    path = store.root / "locks" / f"{KEY}.lock"
    with store.lock(KEY) as free:
        assert free
    assert path.exists()  # else somebody who waits on this file and somebody who makes a new one would both hold the lock
    with store.lock(KEY) as free:
        assert free
        write(store)
    assert not path.exists()
    with store.lock(KEY) as free:
        assert free
    assert not path.exists()


def test_a_lock_is_free_again_after_an_error(store):
    with pytest.raises(Unexpected), store.lock(KEY):
        raise Unexpected
    with store.lock(KEY) as free:
        assert free


HOLDER = """
import sys, time
from pathlib import Path
from qarmor.studies.store import Store
store, key = Store(Path(sys.argv[1])), sys.argv[2]
with store.lock(key) as free:
    if free:
        (store.root / "tmp" / f"{key}.half").mkdir()
    print("held" if free else "busy", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(store):
    """Another process that holds the lock of KEY and is in the middle of writing."""
    command = [sys.executable, "-c", HOLDER, str(store.root), KEY]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_that_another_process_holds_cannot_be_taken_until_it_ends(store, holder):
    with store.lock(KEY) as free:
        assert not free
    assert (store.root / "tmp" / f"{KEY}.half").exists()  # what it is writing is not cleared away
    with store.lock(OTHER) as free:
        assert free
    holder.communicate("")
    with store.lock(KEY) as free:
        assert free


def test_a_lock_is_free_after_its_holder_was_killed(store, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with store.lock(KEY) as free:
        assert free
        assert not (store.root / "tmp" / f"{KEY}.half").exists()
        write(store)
    assert store.sound(KEY)


def test_two_processes_that_want_one_lock(store, holder):
    done = subprocess.run([sys.executable, "-c", HOLDER, str(store.root), KEY], input="", capture_output=True, text=True)
    assert done.stdout == "busy\n"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again, nothing that was finished is lost"),
        (errno.EDQUOT, "the disk quota is used up; free some space"),
        (errno.EROFS, "the file system is read-only; choose another folder with --out"),
        (errno.EACCES, "no permission to write there; choose another folder with --out, or change its permissions"),
        (errno.EPERM, "no permission to write there"),
    ],
)
def test_a_disk_that_cannot_take_it_is_one_line_that_says_what_to_do(store, number, advice):
    write(store, OTHER)
    before = everything(store)
    for name in ("somewhere", None):
        with pytest.raises(StoreError) as caught:
            write(store, fill=raises(OSError(number, os.strerror(number), *([name] if name else []))))
        assert caught.value.errno == number
        assert advice in caught.value.strerror
        assert caught.value.strerror.startswith(name or str(store.root))
        assert "\n" not in caught.value.strerror
        assert not isinstance(caught.value, Damaged)
    assert everything(store) == before
    assert store.sound(OTHER)


def test_a_full_disk_while_the_manifest_is_written(store, monkeypatch):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(under_test, "_flush", full)
    with pytest.raises(StoreError, match="the disk is full"):
        write(store)
    assert everything(store) == set()


def test_other_errors_of_a_task_are_not_taken_for_the_disk_s(store):
    with pytest.raises(FileNotFoundError):
        write(store, fill=raises(FileNotFoundError(errno.ENOENT, "No such file", "mine.npz")))


def test_a_damaged_input_is_not_taken_for_the_disk(store):
    with pytest.raises(Damaged) as caught:
        write(store, fill=raises(Damaged(OTHER, "it is damaged")))
    assert caught.value.key == OTHER


def test_paths_that_cannot_be_a_store(tmp_path):
    (tmp_path / "file").write_text("")
    for path, advice in {
        tmp_path / "file" / "store": "a part of that path is a file; choose another folder with --out",
        tmp_path / "file": "choose another folder with --out",
        tmp_path / ("x" * 300): "the path is too long; choose another folder with --out",
    }.items():
        with pytest.raises(StoreError) as caught:
            Store(path).create()
        assert advice in caught.value.strerror
        assert str(tmp_path) in caught.value.strerror
        assert "\n" not in caught.value.strerror


def test_a_folder_that_is_there_but_takes_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(under_test.tempfile, "TemporaryFile", lambda dir: raises(OSError(errno.EROFS, "Read-only file system"))(Path(dir)))
    with pytest.raises(StoreError, match="the file system is read-only; choose another folder with --out"):
        Store(tmp_path / "store").create()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="no permission to write there"):
            Store(tmp_path / "store").create()
    finally:
        tmp_path.chmod(0o700)


def test_canonical_text():
    assert canonical({"b": 1, "a": [1.0, None, True, "ä"]}) == '{"a":[1.0,null,true,"\\u00e4"],"b":1}'
    assert canonical({"a": {"d": 1, "c": 2}, "b": 3}) == canonical({"b": 3, "a": {"c": 2, "d": 1}})
    assert canonical([1, 2]) != canonical([2, 1])
    assert digest({"a": 1}) != digest({"a": 1.0})
    assert len(KEY) == 64
    for bad in (math.nan, math.inf, {"a": [-math.inf]}):
        with pytest.raises(ValueError):
            canonical(bad)
    with pytest.raises(TypeError):
        canonical({"a": Path("b")})


def test_the_journal_counts_events(store):
    store.note(KEY, "begun")
    store.note(KEY, "made")
    lines = [json.loads(line) for line in (store.root / "journal.jsonl").read_text().splitlines()]
    assert [(line["key"], line["event"], line["process"]) for line in lines] == [(KEY, "begun", os.getpid()), (KEY, "made", os.getpid())]
    Store(store.root / "none").note(KEY, "begun")  # it is no reason to fail
