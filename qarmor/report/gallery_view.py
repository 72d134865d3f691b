"""The gallery's data as the page carries them: names as JSON, numbers packed."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from qarmor.report import pixels
from qarmor.report.desk import Context, Desk
from qarmor.report.gallery import STEPS, Attempt, Attempts
from qarmor.report.reader import Array

WHOLE = 65535
"""A probability of 1, as the page carries it."""


def gallery(desk: Desk, body: Attempts) -> Context:
    """What ``gallery.js`` draws from: a data set after the other, with its images and all that was tried on them."""
    sets = [_dataset(desk, name, [one for one in body.entries if one.dataset == name]) for name in dict.fromkeys(one.dataset for one in body.entries)]
    colours = [pixels.DARKER, pixels.EVEN, pixels.BRIGHTER]
    data = {"sets": sets, "colours": colours, "steps": STEPS, "whole": WHOLE} if sets else None
    return {"data": data, "scale": ", ".join(f"rgb{rgb}" for rgb in colours), "sets": [(one["name"], len(one["images"])) for one in sets]}


def _dataset(desk: Desk, name: str, attempts: list[Attempt]) -> Context:
    first = attempts[0]
    classes = desk.classes(name, first.probabilities.shape[-1])
    labels = _labels(desk, [one.attack for one in attempts])
    return {
        "name": name,
        "classes": classes,
        "shape": first.shape,
        "images": [{"index": index, "label": label} for index, label in zip(first.index, first.labels, strict=True)],
        "clean": _packed(first.clean, np.dtype(np.uint8)),
        "attempts": [_attempt(one, labels[one.attack]) for one in attempts],
    }


def _labels(desk: Desk, names: list[str]) -> dict[str, str]:
    """What each attack is called, with its name in the study where two would be called the same."""
    labels = {name: desk.results.attack_label(name) for name in names}
    shared = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {name: f"{label}, {name}" if label in shared else label for name, label in labels.items()}


def _attempt(one: Attempt, label: str) -> Context:
    return {
        "source": one.source,
        "attack": label,
        "eps": one.eps,
        "networks": one.networks,
        "flags": one.flags,
        "perturbation": _packed(one.perturbation, np.dtype(np.int8)) if one.shape else "",
        "probabilities": _packed(one.probabilities * WHOLE, np.dtype("<u2")),
        "predictions": _packed(one.predictions, np.dtype("<u2")),
    }


def _packed(values: Array, kind: np.dtype[np.generic]) -> str:
    """Whole numbers as bytes, deflated, as base64."""
    return base64.b64encode(zlib.compress(np.rint(values).astype(kind).tobytes(), 9)).decode()
