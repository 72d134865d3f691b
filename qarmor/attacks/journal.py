"""What a long attack has finished, kept in a folder, and how far it is, told to whoever asked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that is damaged or of another call."""


@dataclass(frozen=True)
class Progress:
    """Where an attack stands.

    Attributes:
        stage: name of the attack that runs: of a suite, one of its attacks.
        images: images of the call.
        finished: images whose batch is finished.
        robust: of the images of this batch, those that the network still gets right.
        fraction: part of the whole call that is done, in [0, 1], by stages.
    """

    stage: str
    images: int
    finished: int
    robust: int
    fraction: float


@final
@dataclass(frozen=True)
class Journal:
    """Of one batch of a call.

    Attributes:
        folder: where finished stages are kept; None keeps nothing.
        on_progress: called at every stage; None tells nobody.
        mark: fingerprint of the call, so that nothing of another call is taken over.
        images: images of the call.
        first: position of the batch in the call.
        batch: images of the batch.
    """

    folder: Path | None = None
    on_progress: Callable[[Progress], None] | None = None
    mark: str = ""
    images: int = 0
    first: int = 0
    batch: int = 0

    def tell(self, stage: str, robust: int, fraction: float) -> None:
        """Say that ``stage`` begins with ``robust`` images left, when ``fraction`` of this batch is done."""
        if self.on_progress is not None and self.images:
            done = (self.first + fraction * self.batch) / self.images
            self.on_progress(Progress(stage, self.images, self.first, robust, done))

    def read(self, stage: str) -> dict[str, Tensor] | None:
        """What ``keep`` kept of this stage, or None.

        Raises:
            CheckpointError: a damaged file, or one of another call.
        """
        if self.folder is None or not (path := self._file(self.folder, stage)).exists():
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                mark = (file.metadata() or {}).get("mark")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"checkpoint {path} cannot be read ({error}): delete it to start anew") from error
        if mark != f"{self.mark} {_sum(tensors)}":
            raise CheckpointError(
                f"checkpoint {path} is damaged or of another call (other attack, model, images, eps or seed): delete it or name another folder"
            )
        return tensors

    def keep(self, stage: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep what this stage found: the file appears whole or not at all."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._file(self.folder, stage)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        try:
            temporary.write_bytes(safetensors.torch.save(plain, {"mark": f"{self.mark} {_sum(plain)}"}))
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _file(self, folder: Path, stage: str) -> Path:
        return folder / f"{self.first:06d}-{stage}.safetensors"


NO_JOURNAL = Journal()


def mark_of(name: str, parameters: Mapping[str, object], model: nn.Module, tensors: Mapping[str, Tensor], seed: int, batch_size: int) -> str:
    """A fingerprint of everything that decides what a call finds."""
    state = {f"model {key}": value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    record = json.dumps([name, dict(parameters), seed, batch_size, type(model).__qualname__], sort_keys=True)
    return hashlib.sha256((record + _sum({**state, **tensors})).encode()).hexdigest()


def _sum(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
