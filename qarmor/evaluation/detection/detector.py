"""Two networks that watch each other: an alarm where they disagree, or where their probabilities are too far apart."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from qarmor.evaluation.checks import first as first_of
from qarmor.evaluation.predict import BATCH_SIZE, predict
from qarmor.types import frozen


def probabilities(model: nn.Module, x: Tensor, batch_size: int = BATCH_SIZE, *, name: str = "model") -> Tensor:
    """Softmax of a network's logits, float64 ``(N, K)`` on the CPU; its argmax is the network's. Raises as ``predict``."""
    return predict(model, x, batch_size, name=name).cpu().double().softmax(1)


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """Total variation distance of probabilities ``(N, K)`` and ``(N, K)``: float ``(N,)`` in [0, 1], half the sum of absolute differences.

    Raises:
        ValueError: different shapes.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"both networks must give probabilities (N, K) of the same shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    return ((first - second).abs().sum(1) / 2).clamp(max=1)


def calibrate(scores: Tensor, false_positive_rate: float = 0.05) -> float:
    """The threshold above which a score is an alarm, set on held-out clean images.

    It is the order statistic of rank n + 1 - floor((n + 1) rate): if clean images to come are drawn as the held-out ones were, then the probability
    that one of them scores higher is at most ``false_positive_rate``, on average over held-out sets and whatever the distribution is.

    Args:
        scores: ``(n,)`` in [0, 1], of clean images that are used for nothing else.
        false_positive_rate: in (0, 1).

    Raises:
        ValueError: a rate out of range, scores of another shape, NaN or out of range, or fewer than 1 / rate - 1 of them.

    Source: split conformal prediction, G. Shafer and V. Vovk, J. Mach. Learn. Res. 9, 371 (2008).
    """
    if isinstance(false_positive_rate, bool) or not isinstance(false_positive_rate, numbers.Real) or not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must be between 0 and 1, got {false_positive_rate}; 5 % is 0.05")
    if scores.ndim != 1 or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores must be (n,) in [0, 1], without NaN, got shape {tuple(scores.shape)}; pass the scores of held-out clean images")
    above = math.floor((len(scores) + 1) * float(false_positive_rate) + 1e-9)  # 20 * 0.05 must not fall short of 1
    if above < 1:
        need = math.ceil(1 / float(false_positive_rate) - 1e-9) - 1
        raise ValueError(f"a false_positive_rate of {false_positive_rate:g} needs {need} held-out clean images or more, got {len(scores)}")
    return float(scores.sort().values[len(scores) - above])


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a detector says of images. All on the CPU.

    Attributes:
        first, second: int64 ``(B,)``, the class that each network chooses.
        score: float64 ``(B,)`` in [0, 1], total variation distance of their probabilities.
        alarm: bool ``(B,)``.
    """

    first: Tensor
    second: Tensor
    score: Tensor
    alarm: Tensor


@final
class Detector:
    """Two networks that watch each other. Images may come in batches or one by one: what it says of an image depends on that image only.

    (Up to the rounding of batches of different sizes, and but for networks that draw random numbers.)

    Args:
        first, second: networks for the same classes; frozen once (``types.frozen``), they stay as they were.
        threshold: None to raise an alarm where the networks choose different classes, as West et al. (2023), II.E, do; else alarm where the score is
            above it (``calibrate`` sets it).
        batch_size: images a call of the networks.

    Raises:
        TypeError, ValueError: something else than a module; a threshold outside [0, 1].
    """

    def __init__(self, first: nn.Module, second: nn.Module, threshold: float | None = None, *, batch_size: int = BATCH_SIZE) -> None:
        for argument, model in (("first", first), ("second", second)):
            if not isinstance(model, nn.Module):
                raise TypeError(f"{argument} must be a torch.nn.Module, got {type(model).__name__}; wrap it in one")
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, numbers.Real) or not 0 <= threshold <= 1):
            raise ValueError(f"threshold must be in [0, 1], as scores are, or None for alarms where the classes differ, got {threshold!r}")
        self.threshold = threshold
        self._first, self._second, self._batch_size = frozen(first), frozen(second), batch_size

    def judge(self, x: Tensor) -> Judgement:
        """Classes, scores and alarms.

        Args:
            x: float images in [0, 1], ``(B, C, H, W)`` or ``(B, d)``; or one image, ``(C, H, W)`` or ``(d,)``, a batch of 1.

        Raises:
            TypeError, ValueError: images that are none; networks that disagree about the number of classes, or as ``predict``.
        """
        images = _batch(x)
        first = probabilities(self._first, images, self._batch_size, name="first")
        second = probabilities(self._second, images, self._batch_size, name="second")
        check_classes(("first", "second"), first, second)
        score = total_variation(first, second)
        chosen = first.argmax(1), second.argmax(1)
        return Judgement(*chosen, score, chosen[0] != chosen[1] if self.threshold is None else score > self.threshold)

    def alarm(self, x: Tensor) -> Tensor:
        """Which images raise an alarm: bool ``(B,)``. Arguments and errors as of ``judge``."""
        return self.judge(x).alarm

    def score(self, x: Tensor) -> Tensor:
        """Total variation distance of the two probability vectors: float64 ``(B,)`` in [0, 1]. Arguments and errors as of ``judge``."""
        return self.judge(x).score


def check_classes(names: tuple[str, str], first: Tensor, second: Tensor) -> None:
    """Raise ValueError unless both networks have as many classes."""
    if first.shape[1] != second.shape[1]:
        text = f"{names[0]!r} has {first.shape[1]} and {names[1]!r} has {second.shape[1]}"
        raise ValueError(f"a detector needs two networks of the same classes, but network {text}")


def _batch(x: Tensor) -> Tensor:
    """Images as a batch, checked."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a float32 tensor of images in [0, 1], got {got}; convert bytes as x.float() / 255")
    if x.ndim not in (1, 2, 3, 4) or not x.numel():
        raise ValueError(f"x must be images (B, C, H, W) or (B, d), or one image (C, H, W) or (d,), got shape {tuple(x.shape)}")
    images = x if x.ndim in (2, 4) else x[None]
    low, high = images.flatten(1).aminmax(dim=1)
    for bad, what in (
        (~(low.isfinite() & high.isfinite()), "has a pixel that is NaN or infinite"),
        ((low < 0) | (high > 1), "has a pixel outside [0, 1]; rescale it (uint8 images: divide by 255)"),
        ((low == 0) & (high == 0), "is all zero; amplitude encoding has no state for it"),
    ):
        if bad.any():
            raise ValueError(f"x: image {first_of(bad)} of {len(images)} {what}")
    return images
