"""What tasks cost, from measured costs: for dry runs, for what to start first, and for the time left.

Measured on one core of an AMD EPYC (Zen 4, AVX-512), torch 2.13.0, 2026-11-24 (dev/LOG.md). Another machine has another factor, which the engine
finds from the tasks that it has finished; only the proportions matter then.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from qarmor.models import QVC
from qarmor.types import Dataset

_STEP, _STEP_QUBITS, _STEP_LAYERS = 0.40e-3, 10, 200  # a training step of QVC200 on 10 qubits, seconds an image
_PER_PARAMETER = 2.1e-10  # dense layers and quadratic forms: forward, backward and Adam in batches of 64, seconds an image and a parameter
_OVERHEAD = 12e-6


def _circuit(model: QVC) -> float:
    """A training step of a circuit, seconds an image: proportional to layers and to (n + 1) 2^n."""
    n, layers = model.ansatz.qubits, model.ansatz.layers
    return _STEP * layers / _STEP_LAYERS * (n + 1) * 2.0**n / ((_STEP_QUBITS + 1) * 2.0**_STEP_QUBITS)


def _step(model: nn.Module, shape: Sequence[int]) -> float:
    """A training step of a network, seconds an image."""
    name = type(model).__name__
    area = math.prod(shape[-2:]) / 784 if len(shape) == 3 else 1.0
    if isinstance(model, QVC):
        return _circuit(model)
    if name == "ConvNet":
        return 2.5e-3 * area
    if name == "ResNet18":
        return 4.7e-3 * max(area, 0.3)
    return _OVERHEAD + _PER_PARAMETER * sum(p.numel() for p in model.parameters())


def training_seconds(model: nn.Module, shape: Sequence[int], samples: int) -> float:
    """Seconds of one core to train on ``samples`` images in all."""
    return 1.0 + samples * _step(model, shape)


def _frozen(model: nn.Module, shape: Sequence[int]) -> float:
    """Forward and input gradient of the frozen network, seconds an image."""
    if isinstance(model, QVC):  # two real products with (d, 2 * 2^n)
        return 8 * math.prod(shape) * 2.0**model.ansatz.qubits / 80e9
    return _step(model, shape) * {"ResNet18": 0.3, "Quadratic": 0.4}.get(type(model).__name__, 1.0)


def _freezing(model: nn.Module, shape: Sequence[int]) -> float:
    return _circuit(model) / 3.5 * math.prod(shape) if isinstance(model, QVC) else 0.0


def attack_seconds(model: nn.Module, shape: Sequence[int], images: int) -> float:
    """Seconds of one core for one pass of a gradient attack over ``images``."""
    return _frozen(model, shape) * images + 0.02


def forward_seconds(model: nn.Module, shape: Sequence[int], images: int) -> float:
    """Seconds of one core to judge ``images``."""
    return _frozen(model, shape) * images / 3 + 0.03


def passes(parameters: Mapping[str, Any]) -> float:
    """How often an attack asks for a gradient, from its parameters; of a suite, as if half the images withstood its first attack."""
    if isinstance(suite := parameters.get("suite"), Mapping):
        costs = [passes(part) for part in suite.values()]
        return costs[0] + sum(costs[1:]) / 2 if costs else 1.0
    counts = {name: value for name, value in parameters.items() if isinstance(value, int) and not isinstance(value, bool)}
    restarts = counts.get("restarts", 1) * counts.get("targets", 1) * counts.get("samples", 1)
    return restarts * (counts["queries"] / 3 if "queries" in counts else counts.get("steps", 1) + 1.0)


def noise_seconds(model: nn.Module, readouts: int) -> float:
    """Seconds of one core to carry the readouts of a circuit back through noise."""
    return 0.0 if not isinstance(model, QVC) else 20.0 * readouts / 10 * model.ansatz.layers / 200 * 4.0 ** (model.ansatz.qubits - 10)


def memory(model: nn.Module, dataset: Dataset) -> int:
    """Bytes that a process needs with this network: torch, the data set, weights with their moments, activations of a batch (roughly)."""
    images = sum(part.x.numel() * 4 for part in (dataset.train, dataset.test))
    weights = sum(p.numel() * 4 for p in model.parameters())
    frozen = 8 * math.prod(dataset.shape) * 2**model.ansatz.qubits if isinstance(model, QVC) else 0
    activations = 256 * 1024 * 1024 if type(model).__name__ in ("ConvNet", "ResNet18") else 32 * 1024 * 1024
    return 350 * 1024 * 1024 + images + 4 * weights + 2 * frozen + activations
