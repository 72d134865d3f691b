"""Sections of kind ``gallery`` as ``results.json`` and their arrays have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qarmor.report.reader import Array, Reader, bad, read_arrays

STEPS = 127
"""A perturbation of eps is stored as this."""

_ARRAYS = ("clean", "perturbation", "probabilities", "predictions")


@dataclass(frozen=True, eq=False)
class Attempt:
    """One attack on one source: N images at E values of eps, and what M networks make of them.

    Attributes:
        networks: names, M.
        eps: above 0, E.
        index, labels: of the images, N.
        flags: validity flags of the attack, at any eps.
        clean: whole numbers up to 255, ``(N, ...)``.
        perturbation: whole numbers up to ``STEPS`` (eps) and down to ``-STEPS``, ``(E, N, ...)``.
        probabilities: ``(M, 1 + E, N, K)``, the clean images first; ``predictions``: the class that is named, ``(M, 1 + E, N)``.
    """

    dataset: str
    source: str
    attack: str
    networks: tuple[str, ...]
    eps: tuple[float, ...]
    index: tuple[int, ...]
    labels: tuple[int, ...]
    flags: tuple[str, ...]
    clean: Array
    perturbation: Array
    probabilities: Array
    predictions: Array

    @property
    def shape(self) -> tuple[int, ...] | None:
        """``(C, H, W)`` of an image, C 1 or 3; None where the data are no pictures."""
        shape = self.clean.shape[1:]
        return shape if len(shape) == 3 and shape[0] in (1, 3) else None


@dataclass(frozen=True, eq=False)
class Attempts:
    """Kind ``gallery``."""

    entries: tuple[Attempt, ...]


def attempts(entries: Sequence[Reader], paths: Sequence[Path | None], classes: Mapping[str, Sequence[str]]) -> Attempts:
    """The section's entries; ``paths`` are those of their arrays. Raises as ``read_section``."""
    found = [_attempt(about, path, classes) for about, path in zip(entries, paths, strict=True)]
    first: dict[str, Attempt] = {}
    for about, one in zip(entries, found, strict=True):
        other = first.setdefault(one.dataset, one)
        if (one.index, one.labels) != (other.index, other.labels) or not np.array_equal(one.clean, other.clean):
            raise bad(about.path, f"{about.where}: its images are others than those of {other.attack} on {other.source}")
    return Attempts(tuple(found))


def _attempt(about: Reader, path: Path | None, classes: Mapping[str, Sequence[str]]) -> Attempt:
    if path is None:
        raise about.wrong("arrays", "the path of a file")
    dataset, eps, index, labels = about.name("dataset"), about.numbers("eps"), about.integers("index"), about.integers("labels")
    networks = about.texts("networks")
    if not eps or not index or not networks or len(index) != len(labels) or not all(0 < one <= 1 for one in eps):
        raise bad(about.path, f"{about.where}: eps (above 0), networks, index and labels should not be empty, and as many labels as index")
    arrays = read_arrays(path)
    if lacking := [name for name in _ARRAYS if name not in arrays]:
        raise bad(path, f"it has no array {lacking[0]}")
    clean, perturbation, probabilities, predictions = (arrays[name] for name in _ARRAYS)
    kinds = len(classes.get(dataset, ())) or (probabilities.shape[-1] if probabilities.ndim else 0)
    table = (len(networks), 1 + len(eps), len(index))
    wanted = {"perturbation": (len(eps), *clean.shape), "probabilities": (*table, kinds), "predictions": table}
    if clean.ndim < 2 or len(clean) != len(index) or 0 in clean.shape:
        raise bad(path, f"clean should be {len(index)} images, got shape {clean.shape}")
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise bad(path, f"{name} should be of shape {shape}, got {arrays[name].shape}")
    for name, low, high in (("clean", 0, 255), ("perturbation", -STEPS, STEPS), ("probabilities", 0, 1), ("predictions", 0, kinds - 1)):
        if not ((arrays[name] >= low) & (arrays[name] <= high)).all():
            raise bad(path, f"{name} should lie between {low} and {high}")
    if not all(0 <= label < kinds for label in labels):
        raise bad(about.path, f"{about.where}: labels {list(labels)} with {kinds} classes")
    return Attempt(
        dataset=dataset,
        source=about.name("source"),
        attack=about.text("attack"),
        networks=networks,
        eps=eps,
        index=index,
        labels=labels,
        flags=about.texts("flags"),
        clean=clean,
        perturbation=perturbation,
        probabilities=probabilities,
        predictions=predictions,
    )
