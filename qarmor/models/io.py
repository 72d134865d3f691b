"""Networks as safetensors files: weights, and a record of what they are, checked before anything is allocated."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from qarmor.models.controls import MLP, Linear
from qarmor.models.convnet import ConvNet
from qarmor.models.network import Network
from qarmor.models.quadratic import Quadratic
from qarmor.models.qvc import QVC
from qarmor.models.resnet import ResNet18
from qarmor.models.shipped import saved_file
from qarmor.types import CODE_VERSION, named_object

_ARCHITECTURES: Mapping[str, Callable[..., Network]] = {
    "QVC": QVC,
    "ConvNet": ConvNet,
    "ResNet18": ResNet18,
    "Quadratic": Quadratic.control,
    "Linear": Linear,
    "MLP": MLP,
}
_KEY = "qarmor"
_DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


@dataclass(frozen=True)
class Record:
    """What a file says of the network in it.

    Attributes:
        architecture: name of the class.
        arguments: of its constructor.
        recipe: how it was trained, as JSON values; None if unknown.
        dataset: name of the data set; ``""`` if unknown.
        seed: of weights and training; None if unknown.
        accuracy: clean accuracy on all test images; None if unknown.
        threads: torch's, while it was trained: its sums depend on them; None if unknown.
        version: version of QArmor that wrote it.
    """

    architecture: str
    arguments: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None
    dataset: str = ""
    seed: int | None = None
    accuracy: float | None = None
    threads: int | None = None
    version: str = field(default=CODE_VERSION)


def savable(module: nn.Module) -> Network:
    """``module`` if ``save`` takes it. Raises TypeError in words otherwise."""
    architecture = type(module).__name__
    if not isinstance(module, Network) or architecture not in _ARCHITECTURES:
        raise TypeError(f"{architecture} is not one of the networks that can be saved: {', '.join(_ARCHITECTURES)}")
    return module


def save(
    module: nn.Module,
    path: str | Path,
    *,
    recipe: Mapping[str, Any] | None = None,
    dataset: str = "",
    seed: int | None = None,
    accuracy: float | None = None,
    threads: int | None = None,
) -> Path:
    """Write ``module`` to ``path``; the file appears whole or not at all.

    Raises:
        TypeError: ``module`` is not one of our networks (a frozen QVC is not: save the QVC).
        OSError: the file cannot be written.
    """
    network = savable(module)
    record = Record(type(network).__name__, dict(network.arguments), recipe, dataset, seed, accuracy, threads)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = safetensors.torch.save(tensors, {_KEY: json.dumps(asdict(record), sort_keys=True)})
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _read_record(path: Path, metadata: Mapping[str, str] | None) -> Record:
    if not metadata or _KEY not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not one that QArmor wrote (no {_KEY!r} in its metadata)")
    try:
        entries = json.loads(metadata[_KEY])
        known = {f.name for f in fields(Record)}
        record = Record(**{name: value for name, value in entries.items() if name in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: its record cannot be read: {error}") from error
    if record.architecture not in _ARCHITECTURES or not isinstance(record.arguments, dict):
        raise ValueError(f"{path}: unknown architecture {record.architecture!r}; known are {', '.join(_ARCHITECTURES)}")
    return record


def _skeleton(path: Path, record: Record) -> Network:
    """The network without memory behind its tensors."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return _ARCHITECTURES[record.architecture](**record.arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: it describes no possible {record.architecture}: {error}") from error


def _check_tensors(path: Path, file: Any, skeleton: Network) -> torch.dtype:
    """Raises ValueError unless the file's header has just the tensors of ``skeleton``; returns their floating dtype."""
    expected = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if expected.keys() != found.keys():
        odd = sorted(expected.keys() ^ found.keys())
        raise ValueError(f"{path}: its tensors are not those of the architecture it names (first difference: {odd[0]!r})")
    floating = set()
    for name, part in found.items():
        if tuple(part.get_shape()) != expected[name]:
            raise ValueError(f"{path}: tensor {name!r} has shape {tuple(part.get_shape())}, the architecture has {expected[name]}")
        if part.get_dtype() not in _DTYPES:
            raise ValueError(f"{path}: tensor {name!r} has dtype {part.get_dtype()}, expected one of {', '.join(_DTYPES)}")
        floating |= {_DTYPES[part.get_dtype()]} - {torch.int64}
    if len(floating) != 1:
        raise ValueError(f"{path}: its tensors have mixed precisions")
    return floating.pop()


def _open(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file (truncated, damaged or something else): {error}") from error


def inspect(path: str | Path) -> Record:
    """The record of a saved network, without its weights. Takes files and names, and raises, as ``load``."""
    path = saved_file(path)
    with _open(path) as file:
        return _read_record(path, file.metadata())


def load(path: str | Path) -> nn.Module:
    """A network in eval mode: saved by ``save``, coming with QArmor (``"mnist/qvc200"``), or what ``package.module:factory`` returns.

    The architecture is built without memory and compared with the file's header first: a file that claims 60 qubits allocates nothing.

    Raises:
        FileNotFoundError: no such file, and no such name.
        ValueError: a truncated, damaged or foreign file, one whose tensors do not fit its architecture, or one with non-finite weights.
    """
    if ":" in str(path) and not Path(path).exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a factory that draws weights makes the same network every time
            module = named_object(str(path))()
        if not isinstance(module, nn.Module):
            raise ValueError(f"{path!r} must be a factory that returns a torch.nn.Module, it returned {type(module).__name__}")
        return module.eval()
    path = saved_file(path)
    with _open(path) as file:
        record = _read_record(path, file.metadata())
        skeleton = _skeleton(path, record)
        dtype = _check_tensors(path, file, skeleton)
        try:
            tensors = {name: file.get_tensor(name) for name in skeleton.state_dict()}
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path}: damaged: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name!r} has values that are not finite")
    skeleton.to(dtype).load_state_dict(tensors, assign=True)
    return skeleton.eval()
