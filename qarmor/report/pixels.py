"""Images and perturbations as small PNG data URLs."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from qarmor.report.reader import Array

DARKER, EVEN, BRIGHTER = (84, 39, 136), (247, 247, 247), (179, 88, 6)
"""Colours of a perturbation of -eps, 0 and +eps: purple and orange, which colour-blind readers tell apart."""


def image_url(image: Array) -> str:
    """A PNG of an image ``(C, H, W)`` in [0, 1], C 1 or 3, a pixel a pixel."""
    return _png(_bytes(image.transpose(1, 2, 0)))


def perturbation_url(perturbation: Array, eps: float) -> str:
    """A PNG of a perturbation ``(C, H, W)``, amplified so that eps has the full colour.

    One channel: from purple (-eps) over white to orange (+eps). Three channels: each by itself about a middle grey.
    """
    relative = np.clip(perturbation / max(eps, 1e-12), -1, 1)
    if len(relative) == 3:
        return _png(_bytes(0.5 + 0.5 * relative.transpose(1, 2, 0)))
    at = relative[0][..., None]
    low, middle, high = (np.asarray(colour, dtype=np.float32) / 255 for colour in (DARKER, EVEN, BRIGHTER))
    return _png(_bytes(middle + np.where(at < 0, -at * (low - middle), at * (high - middle))))


def _bytes(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
