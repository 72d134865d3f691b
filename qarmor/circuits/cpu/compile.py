"""Where compiled kernels are kept between processes, and the lock under which they are compiled."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock
import numba
import platformdirs

_one_at_a_time = threading.RLock()


def _sources_digest() -> str:
    """numba looks for changes in one file only; the stages are in another, so the folder's name says which sources it holds."""
    digest = hashlib.sha256(f"{numba.__version__} {os.environ.get('QARMOR_LANES', '')}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path | None:
    """The first writable of ``$NUMBA_CACHE_DIR``, the user's cache folder and the temporary folder; None if none is."""
    temporary = Path(tempfile.gettempdir()) / f"qarmor-{os.getuid()}" if os.name == "posix" else Path(tempfile.gettempdir()) / "qarmor"
    bases = [Path(platformdirs.user_cache_dir("qarmor")) / "numba", temporary]
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        bases.insert(0, Path(named))
    for base in bases:
        folder = base / f"circuits-{_sources_digest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


@contextmanager
def compiling() -> Iterator[None]:
    """Compile, or load what was compiled, while no other thread or process does: numba's index is not safe against two writers."""
    with _one_at_a_time, ExitStack() as stack:
        before = numba.config.CACHE_DIR
        folder = cache_folder()
        if folder is not None:
            stack.enter_context(filelock.FileLock(folder / "lock"))
            numba.config.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before
