"""Random numbers that belong to an image, not to the batch it happens to travel in."""

from __future__ import annotations

import hashlib
from typing import final

import torch
from torch import Tensor

_WORD = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15


def _signed(word: int) -> int:
    """A 64-bit word as the int64 with the same bits, since torch multiplies no uint64."""
    word %= _WORD
    return word - _WORD if word >= _WORD >> 1 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix(z: Tensor) -> Tensor:
    """The output function of SplitMix64 on int64 words, elementwise (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators")."""
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


@final
class Streams:
    """One random stream per image: SplitMix64, started from a hash of the seed and the image's position in the call.

    The streams advance together, so what an image draws depends on its seed, its position and how much was drawn before, and on no other image.
    Numbers are made on the CPU and are the same on every device.
    """

    def __init__(self, seed: int, positions: Tensor) -> None:
        """Streams of the images at ``positions``, int64 ``(B,)``, for a call with ``seed``."""
        root = mix(torch.tensor(_signed(seed + _GOLDEN)))
        self._keys = mix(root + (positions.cpu() + 1) * _signed(_GOLDEN))
        self._drawn = 0

    def subset(self, which: Tensor) -> Streams:
        """The streams of some of the images, from where they are: ``which`` is bool ``(B,)`` or int64 positions. They advance on their own."""
        return self._with_keys(self._keys[which.cpu()], self._drawn)

    def branch(self, name: str) -> Streams:
        """Other streams of the same images, from their start: what one part of an attack draws does not shift the numbers of another."""
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        return self._with_keys(mix(self._keys + _signed(word)), 0)

    def _with_keys(self, keys: Tensor, drawn: int) -> Streams:
        other = object.__new__(Streams)
        other._keys, other._drawn = keys, drawn
        return other

    def uniform(self, *shape: int) -> Tensor:
        """The next numbers of every stream: float64 ``(B, *shape)`` on the CPU, uniform in [0, 1)."""
        count = torch.Size(shape).numel()
        counter = torch.arange(self._drawn + 1, self._drawn + count + 1)
        self._drawn += count
        words = mix(self._keys[:, None] + counter * _signed(_GOLDEN))
        return (_shifted(words, 11).double() * 2.0**-53).reshape(-1, *shape)

    def surface(self, *shape: int) -> Tensor:
        """The next points of the surface of the cube [-1, 1]: float64 ``(B, *shape)`` on the CPU, each with some number at 1 or -1."""
        shift = 2 * self.uniform(*shape) - 1
        return shift / shift.flatten(1).abs().amax(1).clamp(min=1e-12).reshape(-1, *[1] * len(shape))
