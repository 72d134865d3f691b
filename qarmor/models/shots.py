"""A quantum classifier that is measured a finite number of times."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qarmor.models.quadratic import Quadratic
from qarmor.models.qvc import QVC, FrozenQVC
from qarmor.types import Classifier, frozen

MOST_SHOTS = 1 << 53  # counts up to here are whole numbers in float64
_ROUNDING = 1e-4


class _Measured(torch.autograd.Function):
    """The sampled logits, with the gradient of the exact ones."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, sampled: Tensor) -> Tensor:
        return sampled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class Shots(Classifier):
    """Logits ``scale * (mean of Z_k's outcomes)`` from ``shots`` measurements of each image, drawn anew at every call.

    Of a QVC all qubits are measured together, as on hardware: one outcome gives all K readouts, and these are correlated as the state says. Of
    a ``Quadratic`` (a noisy QVC from ``QVC.freeze(noise=...)``, or ``FrozenQVC.quadratic()``) only expectations are known, not the joint
    distribution: there each readout is measured in ``shots`` runs of its own, independently, so K * shots runs an image.

    The gradient is that of the exact logits (straight through): what the average over draws has. Few shots often give equal logits; argmax then
    takes the lowest class. An all-zero image has zero logits.

    Args:
        model: a QVC (as it is now: later training doesn't reach this model), a frozen one, or a ``Quadratic`` of expectations.
        shots: 1 to 2^53.
        seed: of a generator of this model's own, which a copy takes along: a call goes on where the last one stopped, and a batch gives what its
            parts would, up to rounding. None: each call draws its seed from torch's global generator, which attacks and evaluators seed and restore.

    Raises:
        TypeError, ValueError: another model, a ``Quadratic`` that does not normalise or without a positive scale, shots or seed out of range; when
            called, ValueError for forms whose values are no expectations in [-1, 1].
    """

    stochastic = True

    def __init__(self, model: QVC | FrozenQVC | Quadratic, shots: int, seed: int | None = None) -> None:
        super().__init__()
        if not isinstance(model, QVC | FrozenQVC | Quadratic):
            raise TypeError(f"model must be a QVC, frozen or not, or a Quadratic, got {type(model).__name__}: nothing else is measured in shots")
        if isinstance(model, Quadratic) and not (model.normalise and model.scale > 0):
            raise ValueError(
                f"a Quadratic is measured in shots if it normalises and has a positive scale, got normalise={model.normalise}, scale={model.scale:g}"
            )
        if isinstance(shots, bool) or not isinstance(shots, int) or not 1 <= shots <= MOST_SHOTS:
            raise ValueError(f"shots must be a whole number from 1 to 2^53, got {shots!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ValueError(f"seed must be a whole number, 0 or more, or None, got {seed!r}")
        made = frozen(model)
        if not isinstance(made, FrozenQVC | Quadratic):
            raise TypeError(f"model freezes to {type(made).__name__}, wanted FrozenQVC or Quadratic")
        self.model, self.shots = made, shots
        self._generator = None if seed is None else np.random.default_rng(seed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Sampled logits ``(B, K)`` of images as the model takes them."""
        exact = self.model(x)
        with torch.no_grad():
            generator = self._generator
            if generator is None:
                generator = np.random.default_rng(int(torch.randint((1 << 63) - 1, ())))
            means = (
                _joint(self.model, x, self.shots, generator)
                if isinstance(self.model, FrozenQVC)
                else _single(self.model, exact, self.shots, generator)
            )
            scale = self.model.logit_scale if isinstance(self.model, FrozenQVC) else self.model.scale
            sampled = scale * means.to(exact.device, exact.dtype)
            sampled[~x.flatten(1).any(1)] = 0
        logits: Tensor = _Measured.apply(exact, sampled)  # type: ignore[no-untyped-call]
        return logits


def _joint(model: FrozenQVC, x: Tensor, shots: int, generator: np.random.Generator) -> Tensor:
    """Means of Z_0, ..., Z_{K-1} over outcomes of these K wires, float64 ``(B, K)``: the other wires' outcomes would be summed over anyway."""
    probabilities = model.probabilities(x).reshape(len(x), 1 << model.classes, 1 << (model.qubits - model.classes)).sum(2)
    total = probabilities.sum(1, keepdim=True)
    probabilities = torch.where(total > 0, probabilities / total, 1 / probabilities.shape[1])
    counts = torch.from_numpy(generator.multinomial(shots, probabilities.cpu().numpy()))
    wires = torch.arange(model.classes - 1, -1, -1)
    signs = 1 - 2 * (torch.arange(1 << model.classes)[:, None] >> wires & 1)
    return counts.double() @ signs.double() / shots


def _single(model: Quadratic, exact: Tensor, shots: int, generator: np.random.Generator) -> Tensor:
    """Means of each readout's own outcomes, float64 ``(B, K)``."""
    expectations = exact.detach().double().cpu() / model.scale
    if len(expectations) and not (largest := float(expectations.abs().max())) <= 1 + _ROUNDING:
        raise ValueError(
            f"the forms of this Quadratic give {largest:g}: only expectations in [-1, 1] are measured in shots, as those of a frozen QVC"
        )
    ones = generator.binomial(shots, ((1 - expectations) / 2).clamp(0, 1).numpy())
    return 1 - 2 * torch.from_numpy(ones).double() / shots
