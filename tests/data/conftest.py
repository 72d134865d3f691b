"""Tiny files in every format, and mirrors on 127.0.0.1 that misbehave on purpose."""

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from qarmor.data.content import _warned

CELEBA_ATTRIBUTES = ["Bald", "Black_Hair", "Smiling"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("QARMOR_DATA", raising=False)
    _warned.clear()


def idx_bytes(array: np.ndarray) -> bytes:
    magic = (0x800 + array.ndim).to_bytes(4, "big")
    return magic + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def write_idx(tmp_path) -> Callable:
    """Write four IDX files of ``n`` training images under ``tmp_path/mnist``; keyword arguments replace one file's bytes."""

    def write(n: int = 20, packed: bool = True, name: str = "mnist", **replaced: bytes):
        generator = np.random.default_rng(0)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for part, count in (("train", n), ("t10k", 10)):
            images = generator.integers(1, 256, (count, 28, 28))
            contents = {f"{part}-images-idx3-ubyte": idx_bytes(images), f"{part}-labels-idx1-ubyte": idx_bytes(np.arange(count) % 10)}
            for file, content in contents.items():
                content = replaced.get(file.replace("-", "_"), content)
                if packed:
                    (folder / f"{file}.gz").write_bytes(gzip.compress(content, mtime=0))
                else:
                    (folder / file).write_bytes(content)
        return folder

    return write


@pytest.fixture
def write_cifar(tmp_path) -> Callable:
    def write(folder=None, labels=(8, 9, 0, 8, 9, 3)):
        folder = folder or tmp_path / "cifar-10-batches-bin"
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(0)
        for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
            records = [bytes([label]) + generator.integers(1, 256, 3072).astype(np.uint8).tobytes() for label in labels]
            (folder / name).write_bytes(b"".join(records))
        return folder

    return write


@pytest.fixture
def write_celeba(tmp_path) -> Callable:
    """Ten JPEGs of 20x30: odd numbers have black hair; partitions 0 0 0 0 1 1 2 2 2 2."""

    def write():
        folder = tmp_path / "celeba"
        (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
        names = [f"{i:06d}.jpg" for i in range(1, 11)]
        lines = [str(len(names)), " ".join(CELEBA_ATTRIBUTES)]
        for i, name in enumerate(names, 1):
            pixels = np.full((30, 20, 3), 20 * i, np.uint8)
            pixels[:5] = pixels[-5:] = 0  # outside the centre square
            Image.fromarray(pixels).save(folder / "img_align_celeba" / name, quality=95)
            lines.append(f"{name} -1 {1 if i % 2 else -1} 1")
        (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
        parts = "0000112222"
        (folder / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True)))
        return folder

    return write


class Mirror:
    """A server on 127.0.0.1; ``answers`` maps a path to a list of (status, body, claimed length), the last of which repeats."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes, int | None]]] = {}
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                waiting = mirror.answers.get(self.path, [(404, b"", None)])
                status, body, claimed = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{folder}/"


@pytest.fixture
def mirror(monkeypatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    server = Mirror()
    yield server
    server.server.shutdown()
    server.server.server_close()
    server.thread.join()
