"""What was measured image by image, and which images a criterion about several measurements is judged on."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qarmor.evaluation.criteria import QUANTITIES, Kind, Quantity

_KINDS = {kind.measured: kind for kind in QUANTITIES.values()}


@dataclass(frozen=True, eq=False)
class Measurement:
    """One quantity on one set of images of a data set.

    ``criteria.QUANTITIES`` lists the quantities that criteria know and which of the fields each is asked by; other fields don't matter to them, and
    other quantities are ignored.

    Attributes:
        dataset: e.g. ``"mnist"``; its test images are meant.
        quantity: ``"accuracy"`` (of target under source's attack), ``"clean"`` (of target), ``"low_frequency_share"`` (of source's perturbations),
            and others.
        source, target: networks; ``""`` where there is none.
        attack: the study's name of the attack; ``""`` where there is none.
        eps: l_inf radius in units of the pixel range; for ``"noisy_accuracy"`` the strength of the noise.
        values: float64 ``(N,)``, N > 0, one an image: 0 or 1 for rates, in [0, 1] for shares (NaN where a perturbation is zero). Of an exact number
            (gates) N is 1.
        images: int64 ``(N,)``, positions in the original set, each once.
        seed: of the networks' training; a criterion is about networks of one seed.
    """

    dataset: str
    quantity: str
    source: str
    target: str
    attack: str
    eps: float
    values: Tensor
    images: Tensor
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, dtype in (("values", self.values, torch.float64), ("images", self.images, torch.int64)):
            if not isinstance(value, Tensor) or value.dtype != dtype or value.ndim != 1:
                got = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"{self}: {name} must be a {str(dtype).removeprefix('torch.')} tensor (N,), got {got}; convert it")
        if len(self.values) != len(self.images) or len(self.values) == 0:
            raise ValueError(f"{self}: one value an image, one or more, got {len(self.values)} values and {len(self.images)} images")
        if len(torch.unique(self.images)) != len(self.images):
            raise ValueError(f"{self}: an image occurs twice; give each image one value")
        scale, values = _KINDS[self.quantity].scale if self.quantity in _KINDS else None, self.values
        if scale == "rate" and not ((values == 0) | (values == 1)).all():
            raise ValueError(f"{self}: values of a rate must be 0 or 1; pass (predictions == labels).double()")
        if scale == "mean" and not (values.isnan() | (values >= 0) & (values <= 1)).all():
            raise ValueError(f"{self}: values must be in [0, 1], or NaN where there is none")
        if scale == "exact" and not (len(values) == 1 and values.isfinite().all()):
            raise ValueError(f"{self}: an exact number is one finite value, got {len(values)} values")

    def __str__(self) -> str:
        return f"measurement {self.quantity}({self.source or '-'} -> {self.target or '-'}, {self.attack or '-'}, {self.eps:g}) of {self.dataset!r}"


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of one quantity, float64 ``(n,)``, without NaN, and their images, int64 ``(n,)``, rising."""

    values: Tensor
    images: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.values)

    @functools.cached_property
    def key(self) -> bytes:
        """The same for the same images, else different."""
        return self.images.tobytes()

    def on(self, images: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sample:
        """The part on ``images``, rising, all of which are here."""
        return self if len(images) == len(self) else Sample(self.values[torch.from_numpy(np.searchsorted(self.images, images))], images)


def _sample(measurement: Measurement) -> Sample:
    there = ~measurement.values.isnan()
    images, order = measurement.images[there].cpu().sort()
    return Sample(measurement.values[there].detach().cpu()[order], images.numpy())


def _address(dataset: str, kind: Kind, of: Measurement | Quantity) -> tuple[str, ...]:
    """What a measurement and the quantity that asks for it have in common; eps to six digits, so that a float32 finds its decimal."""
    fields = {"source": of.source, "target": of.target, "attack": of.attack, "eps": f"{of.eps:.6g}"}
    return dataset, kind.measured, *(fields[name] for name in kind.fields)


class Table:
    """Measurements, found by what a criterion asks for."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._found: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
        for measurement in measurements:
            if measurement.quantity in _KINDS:
                self._found[_address(measurement.dataset, _KINDS[measurement.quantity], measurement)].append(_sample(measurement))

    def samples(self, dataset: str, quantity: Quantity) -> list[Sample]:
        """All samples of the quantity, most images first; a sample may be empty (every perturbation zero)."""
        return sorted(self._found.get(_address(dataset, quantity.kind, quantity), ()), key=len, reverse=True)


def together(candidates: Sequence[Sequence[Sample]]) -> list[Sample]:
    """One sample for each list of candidates (most images first, the first not empty), on the same images for all of them if that can be.

    It can be if the images that they have in common are at least half of the smallest set: the largest such set of common images is taken. Else each
    is its largest, and they count as independent; a few images that two draws share by chance are no reason to drop the others.
    """
    best: tuple[int, list[Sample]] = (0, [samples[0] for samples in candidates])
    for combination in itertools.product(*candidates):
        smallest = min(len(sample) for sample in combination)
        if smallest <= best[0]:
            continue
        common = combination[0].images
        for sample in combination[1:]:
            if sample.key != combination[0].key:
                common = np.intersect1d(common, sample.images, assume_unique=True)
        if len(common) > best[0] and 2 * len(common) >= smallest:
            best = len(common), [sample.on(common) for sample in combination]
    return best[1]
