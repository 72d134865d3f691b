"""Downloads: mirrors tried in turn, hashes checked, files that appear whole or not at all."""

import json
import logging
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch

from qarmor.data import cifar
from qarmor.data.content import DataError, sha256

_RETRIES = 2
_LARGEST = 64 << 20  # no file in the archive comes near
log = logging.getLogger("qarmor.data")


@dataclass(frozen=True)
class Remote:
    """A file to download: its name, the md5 of the file as downloaded, and the folders (URLs) that mirror it."""

    name: str
    md5: str
    mirrors: tuple[str, ...]


def _writable(folder: Path) -> None:
    """Make ``folder`` where there is none. Raises OSError in words."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write to {folder} ({error.strerror}): set QARMOR_DATA to a folder that can be written") from error


def download(remote: Remote, folder: Path) -> Path:
    """``remote`` in ``folder``, checked.

    Raises:
        OSError: no mirror gave the right file (the message says why, for each), or the folder cannot be written.
    """
    _writable(folder)
    failures = []
    for mirror in remote.mirrors:
        url = mirror.rstrip("/") + "/" + remote.name
        log.info("downloading %s", url)
        store = pooch.create(folder, base_url="", registry={remote.name: f"md5:{remote.md5}"}, urls={remote.name: url}, retry_if_failed=_RETRIES)
        try:
            return Path(store.fetch(remote.name, downloader=pooch.HTTPDownloader(timeout=30)))
        except (ValueError, OSError) as error:
            reason = "the file has another hash" if isinstance(error, ValueError) and "hash" in str(error).lower() else str(error)
            failures.append(f"{url}: {' '.join(reason.split())[:200]}")
    raise OSError(f"could not download {remote.name} into {folder} from any mirror ({'; '.join(failures)}): put the file there yourself")


def download_all(remotes: Sequence[Remote], folder: Path) -> None:
    """Those of ``remotes`` that are not in ``folder``, plain or packed."""
    for remote in remotes:
        if not (folder / remote.name).exists() and not (folder / remote.name.removesuffix(".gz")).exists():
            download(remote, folder)


def download_cifar(remote: Remote, folder: Path) -> None:
    """The archive of the binary version, unpacked into ``folder``; the archive is not kept, and batches that are there already stay."""
    _writable(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".cifar-10-") as temporary:
        archive = download(remote, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        extract(archive, unpacked)
        digests = {path.name: sha256(path.read_bytes()) for path in sorted(unpacked.iterdir())}
        (unpacked / cifar.MANIFEST).write_text(json.dumps(digests, indent=1))
        try:
            os.rename(unpacked, folder)  # whole or not at all
        except OSError:  # there is a folder already, of the user's or of another process that was faster
            _writable(folder)
            os.replace(unpacked / cifar.MANIFEST, folder / cifar.MANIFEST)
            for path in unpacked.iterdir():
                if not (folder / path.name).exists():
                    os.replace(path, folder / path.name)


def extract(archive: Path, folder: Path) -> None:
    """The batches in ``archive``, and nothing else in it, into the new ``folder``: no links, no other paths, no huge files.

    Raises:
        DataError: a damaged archive, or one without all batches.
    """
    wanted = {f"cifar-10-batches-bin/{name}": name for name in (*cifar.TRAIN, *cifar.TEST)}
    folder.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = wanted.get(member.name)
                if name is None or not member.isfile():
                    continue
                if member.size > _LARGEST:
                    raise DataError(f"{archive.name}: {member.name} claims {member.size} bytes; that is not CIFAR-10")
                source = tar.extractfile(member)
                if source is not None:
                    with source, open(folder / name, "wb") as target:
                        shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive.name} is damaged or truncated: {error}") from error
    absent = [name for name in wanted.values() if not (folder / name).exists()]
    if absent:
        raise DataError(f"{archive.name} has no {absent[0]}: it is not the binary version of CIFAR-10")
