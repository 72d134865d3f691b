"""Where results are kept: folders named by what they are results of, that appear whole or not at all, with sums that are checked on reading.

store/objects/ab/abcd…/    an artefact: its files and manifest.json
store/work/abcd….*         checkpoint and progress of an unfinished task
store/locks/abcd….lock     held while a task is being done
store/damaged/             artefacts whose sums were wrong, set aside
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

MANIFEST = "manifest.json"
log = logging.getLogger("qarmor.store")


class StoreError(OSError):
    """The store cannot be read or written; the message names the path, what is wrong and what to do."""


class Damaged(StoreError):
    """The artefact of ``key`` is not what its manifest says."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(0, text)
        self.key = key


@dataclass(frozen=True)
class Manifest:
    """What an artefact is: its task, the sums of its files, and how it was made (which its key does not depend on)."""

    key: str
    kind: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    made: Mapping[str, Any]


def canonical(value: object) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_FULL = "free some space and run the same command again, nothing that was finished is lost"
_ELSEWHERE = "choose another folder with --out"
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota is used up; {_FULL}",
    errno.EACCES: f"no permission to write there; {_ELSEWHERE}, or change its permissions",
    errno.EPERM: f"no permission to write there; {_ELSEWHERE}, or change its permissions",
    errno.EROFS: f"the file system is read-only; {_ELSEWHERE}",
    errno.ENOTDIR: f"a part of that path is a file; {_ELSEWHERE}",
    errno.EEXIST: f"a file is in the way; {_ELSEWHERE}",
    errno.ENAMETOOLONG: f"the path is too long; {_ELSEWHERE}",
}


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Errors of the file system as one line that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno is None or error.errno not in _ADVICE:
            raise
        raise StoreError(error.errno, f"{error.filename or path}: {_ADVICE[error.errno]}") from error


class Store:
    """Artefacts by key, in ``root``. Safe for any number of processes on file systems with locks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the folders, and see that they can be written.

        Raises:
            StoreError: they cannot.
        """
        with in_words(self.root):
            try:
                for name in ("objects", "work", "locks", "damaged", "tmp"):
                    (self.root / name).mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # e.g. below /proc
                raise StoreError(error.errno, f"{self.root}: this folder cannot be made; {_ELSEWHERE}") from error
            with tempfile.TemporaryFile(dir=self.root / "tmp") as file:
                file.write(b"x")

    def folder(self, key: str) -> Path:
        """Where the artefact of ``key`` is, or will be."""
        return self.root / "objects" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether there is an artefact of ``key``; its sums are not looked at."""
        return (self.folder(key) / MANIFEST).is_file()

    def checkpoint(self, key: str) -> Path:
        """Where an unfinished task keeps its state. In a folder that exists."""
        return self.root / "work" / f"{key}.checkpoint"

    def progress_file(self, key: str) -> Path:
        """Where a running task says how far it is."""
        return self.root / "work" / f"{key}.progress"

    def manifest(self, key: str) -> Manifest:
        """The manifest of an artefact.

        Raises:
            Damaged: it is missing, changed, or of another key.
        """
        path = self.folder(key) / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
            value = json.loads(text)
            entries = {name: value[name] for name in ("key", "kind", "spec", "inputs", "files", "made")}
            sound = text == sealed(entries) and entries["key"] == key
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(key, f"artefact {key[:12]} in {path.parent}: its manifest cannot be read ({error})") from error
        if not sound:
            raise Damaged(key, f"artefact {key[:12]} in {path.parent}: its manifest was changed")
        return Manifest(**entries)

    def check(self, key: str) -> Manifest:
        """The manifest of an artefact, after comparing every file with it.

        Raises:
            Damaged: a file is missing, changed or too many.
        """
        manifest = self.manifest(key)
        folder = self.folder(key)
        found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()} - {MANIFEST}
        if odd := sorted(found ^ set(manifest.files)):
            what = "has a file that does not belong to it" if odd[0] in found else "lacks a file"
            raise Damaged(key, f"artefact {key[:12]} in {folder}: it {what}, {odd[0]}")
        for name, wanted in manifest.files.items():
            try:
                actual = file_digest(folder / name)
            except OSError as error:
                raise Damaged(key, f"artefact {key[:12]} in {folder}: {name} cannot be read ({error.strerror})") from error
            if actual != wanted:
                raise Damaged(key, f"artefact {key[:12]} in {folder}: {name} was changed after it was written")
        return manifest

    def sound(self, key: str) -> bool:
        """Whether there is a whole artefact of ``key``; a damaged one is reported and set aside."""
        if not self.folder(key).exists():
            return False
        try:
            self.check(key)
        except Damaged:
            with self.lock(key) as free:  # whoever has the lock may be making it again
                return free and self._sound_or_aside(key)
        return True

    def _sound_or_aside(self, key: str) -> bool:
        try:
            self.check(key)
        except Damaged as error:
            if self.folder(key).exists():
                aside = self.set_aside(key)
                log.warning("%s; it is set aside in %s and will be made again", error.strerror, aside)
            return False
        return True

    def set_aside(self, key: str) -> Path:
        """Move an artefact out of the way; returns where to."""
        with in_words(self.root):
            place = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self.root / "damaged"))
            try:
                os.rename(self.folder(key), place / "artefact")
            except FileNotFoundError:  # another process was quicker
                place.rmdir()
            return place

    def write(self, key: str, kind: str, spec: Mapping[str, Any], inputs: Mapping[str, str], fill: Callable[[Path], Mapping[str, Any]]) -> None:
        """Make an artefact: ``fill(folder)`` writes its files and returns what the manifest says of how it was made.

        Raises:
            StoreError: the disk is full, or the store cannot be written; nothing of the artefact is left then.
        """
        with in_words(self.root):
            temporary = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self.root / "tmp"))
            try:
                made = fill(temporary)
                files = {}
                for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
                    _flush(path)
                    files[path.relative_to(temporary).as_posix()] = file_digest(path)
                entries = {"key": key, "kind": kind, "spec": spec, "inputs": inputs, "files": files, "made": made}
                (temporary / MANIFEST).write_text(sealed(entries), encoding="utf-8")
                _flush(temporary / MANIFEST)
                _flush(temporary)
                folder = self.folder(key)
                folder.parent.mkdir(exist_ok=True)
                if folder.exists():  # left by someone else without the lock, or damaged in the meantime
                    self.set_aside(key)
                os.rename(temporary, folder)
                _flush(folder.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            self.progress_file(key).unlink(missing_ok=True)
            if (checkpoint := self.checkpoint(key)).is_dir():
                shutil.rmtree(checkpoint)
            else:
                checkpoint.unlink(missing_ok=True)

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Yields whether the lock of ``key`` was free; it is held inside, and freed by the system if the process dies."""
        path = self.root / "locks" / f"{key}.lock"
        lock = filelock.FileLock(path, timeout=0)
        with in_words(self.root):
            try:
                lock.acquire()
            except filelock.Timeout:
                yield False
                return
        try:
            self._clear_leftovers(key)
            yield True
        finally:
            # Only once the artefact is there: whoever waits on the old file, or makes a new one, finds it done.
            if self.has(key):
                path.unlink(missing_ok=True)
            lock.release()

    def busy(self, key: str) -> bool:
        """Whether some process holds the lock of ``key``."""
        path = self.root / "locks" / f"{key}.lock"
        if not path.exists():
            return False
        try:
            with filelock.FileLock(path, timeout=0):
                return False
        except filelock.Timeout:
            return True
        except OSError:  # a read-only folder: nobody can be writing there
            return False

    def note(self, key: str, event: str) -> None:
        """Add a line to the journal: what was begun, made, and which stages were gone through. Nothing is read from it; it is for people to count."""
        line = canonical({"at": round(time.time(), 3), "process": os.getpid(), "key": key, "event": event}) + "\n"
        with suppress(OSError):
            handle = os.open(self.root / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)

    def _clear_leftovers(self, key: str) -> None:
        """What a killed process left half-written of this key; its lock is ours, so nobody writes it now."""
        for path in (self.root / "tmp").glob(f"{key}.*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.root / "work").glob(f".{key}.*"):
            path.unlink(missing_ok=True)


def sealed(entries: Mapping[str, Any]) -> str:
    """JSON text with the sum of itself."""
    return canonical({**entries, "sum": digest(entries)})


def replace_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
