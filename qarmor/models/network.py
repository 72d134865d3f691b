"""What all our networks share: a record of how they were constructed, and the checks of their arguments."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from qarmor.types import Classifier


class Network(Classifier):
    """A classifier that can be saved: ``arguments`` are those of its constructor, as JSON values."""

    @property
    @abstractmethod
    def arguments(self) -> Mapping[str, Any]:
        """Arguments that construct a network of the same architecture."""

    def check_input(self, x: Tensor, shape: Sequence[int]) -> None:
        """Raises ValueError if ``x`` is not a batch of images of ``shape``."""
        if tuple(x.shape[1:]) != tuple(shape):
            raise ValueError(f"{type(self).__name__} was made for images of shape {tuple(shape)}, got a batch of shape {tuple(x.shape)}")

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``shape`` as ``(C, H, W)``; 1 or 3 channels, sides from 8 to 32. Raises ValueError otherwise."""
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(8 <= side <= 32 for side in shape[1:]):
        raise ValueError(f"shape must be (1 or 3, 8 to 32, 8 to 32) for a convolutional network, got {tuple(shape)}")
    return (shape[0], shape[1], shape[2])


def pixel_count(shape: Sequence[int]) -> int:
    """Number of values in an image of ``shape``, 1 to 16384. Raises ValueError otherwise."""
    pixels = math.prod(shape)
    if not 1 <= pixels <= 1 << 14:
        raise ValueError(f"shape must have between 1 and {1 << 14} values, got {tuple(shape)} with {pixels}")
    return pixels


def class_count(classes: int) -> int:
    """``classes`` if it is a whole number from 2 to 1000. Raises ValueError otherwise."""
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= 1000:
        raise ValueError(f"classes must be a whole number from 2 to 1000, got {classes!r}")
    return classes
