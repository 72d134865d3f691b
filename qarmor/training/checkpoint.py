"""State of an unfinished training, as one safetensors file that appears whole or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from qarmor.training.recipe import Recipe
from qarmor.types import Images

_KEY = "qarmor-checkpoint"


class CheckpointError(ValueError):
    """A checkpoint that is damaged or of another training."""


def _sum(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def fingerprint(model: nn.Module, train: Images, recipe: Recipe, seed: int) -> str:
    """Of everything that determines the weights after an epoch: recipe, seed, images, shapes of the model."""
    digest = hashlib.sha256()
    record = {k: v for k, v in recipe.record().items() if k != "name"}
    shapes = {name: list(t.shape) for name, t in model.state_dict().items()}
    digest.update(json.dumps([record, seed, shapes, str(train.x.dtype), list(train.x.shape)], sort_keys=True).encode())
    for tensor in (train.x, train.y):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, history: dict[str, Any], mark: str) -> None:
    """Save weights, the optimiser's moments, the number of finished epochs and the history."""
    tensors = {f"model.{name}": t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimiser.{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    metadata = {_KEY: json.dumps({"epoch": epoch, "history": history, "fingerprint": mark, "sum": _sum(tensors)})}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, mark: str) -> tuple[int, dict[str, Any]]:
    """Restore weights and moments; returns the number of finished epochs and the history.

    Raises:
        CheckpointError: a damaged file, or the checkpoint of another training.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read ({error}): delete it to start anew") from error
    if state.get("sum") != _sum(tensors):
        raise CheckpointError(f"checkpoint {path} is damaged (its sum is wrong): delete it to start anew")
    if state["fingerprint"] != mark:
        raise CheckpointError(f"checkpoint {path} is of another training (other recipe, seed, images or network): delete it or name another file")
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, moment = name.split(".", 2)
            moments.setdefault(int(number), {})[moment] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return state["epoch"], state["history"]
