"""What both networks of a detector see: everything that its numbers are computed from, ready to be stored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qarmor.evaluation.checks import check_images, check_networks
from qarmor.evaluation.craft import Adversarials
from qarmor.evaluation.detection.detector import check_classes, probabilities, total_variation
from qarmor.evaluation.predict import BATCH_SIZE
from qarmor.types import Images, frozen

_TENSORS = {
    "first": torch.float64,
    "second": torch.float64,
    "y": torch.int64,
    "index": torch.int64,
    "eps": torch.float32,
    "fooled": torch.bool,
    "both_right": torch.bool,
    "origin": torch.int64,
}


@dataclass(frozen=True)
class Origin:
    """How attacked images were made: network attacked, name of the attack, its hyperparameters (JSON values), its seed, flags of the gradients."""

    source: str
    attack: str
    parameters: Mapping[str, Any]
    seed: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Observations:
    """Images, clean or attacked, as two networks see them. All tensors are on the CPU.

    Attributes:
        dataset: name of the images, e.g. ``"mnist/test"``.
        networks: names of the two.
        first, second: float64 ``(N, K)``, their probabilities.
        y: int64 ``(N,)``, true labels.
        index: int64 ``(N,)``, positions in the original set.
        eps: float32 ``(N,)``, radii of the attacks; 0 for clean images.
        fooled: bool ``(N,)``, whether the attack worked: its source was right about the clean image and is wrong now.
        both_right: bool ``(N,)``, whether both networks are right about the clean image.
        origin: int64 ``(N,)``, positions in ``origins``; -1 for clean images.
        origins: how attacked images were made; empty for clean ones.

    Raises:
        TypeError, ValueError: tensors of other types or shapes, no images, or origins that are not there.
    """

    dataset: str
    networks: tuple[str, str]
    first: Tensor
    second: Tensor
    y: Tensor
    index: Tensor
    eps: Tensor
    fooled: Tensor
    both_right: Tensor
    origin: Tensor
    origins: tuple[Origin, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.y)
        if not n:
            raise ValueError(f"observations of {self.dataset!r} are empty; there must be at least one image")
        for name, dtype in _TENSORS.items():
            value = getattr(self, name)
            if value.dtype != dtype or value.ndim != (2 if name in ("first", "second") else 1) or len(value) != n:
                wanted = f"{str(dtype).removeprefix('torch.')}, one an image ({n})"
                raise TypeError(f"observations of {self.dataset!r}: {name} must be {wanted}, got {value.dtype} of shape {tuple(value.shape)}")
        check_classes(self.networks, self.first, self.second)
        low, high = int(self.origin.min()), int(self.origin.max())
        if high >= len(self.origins) or low < (0 if self.origins else -1):
            raise ValueError(f"observations of {self.dataset!r}: origin runs from {low} to {high}, but there are {len(self.origins)} origins")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def attacked(self) -> bool:
        """Whether these are attacked images."""
        return bool(self.origins)

    @property
    def disagree(self) -> Tensor:
        """Where the networks choose different classes: bool ``(N,)``."""
        return self.first.argmax(1) != self.second.argmax(1)

    @property
    def score(self) -> Tensor:
        """Total variation distance of the two probability vectors: float64 ``(N,)``."""
        return total_variation(self.first, self.second)

    @property
    def same_wrong(self) -> Tensor:
        """Where both choose the same wrong class, so that no disagreement betrays the error: bool ``(N,)``."""
        return ~self.disagree & (self.first.argmax(1) != self.y)

    def tensors(self) -> dict[str, Tensor]:
        """All of it as tensors, names and hyperparameters among them as JSON in bytes: for safetensors, or, as numpy arrays, for an .npz file."""
        about = {"dataset": self.dataset, "networks": self.networks, "origins": [dataclasses.asdict(origin) for origin in self.origins]}
        text = json.dumps(about).encode()  # in order, so that rows made again are the same text
        return {**{name: getattr(self, name) for name in _TENSORS}, "about": torch.tensor(list(text), dtype=torch.uint8)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Observations:
        """What ``tensors`` gave. Raises ValueError on anything else."""
        try:
            about = json.loads(bytes(tensors["about"].tolist()))
            first, second = about["networks"]
            origins = tuple(Origin(**{**entry, "flags": tuple(entry["flags"])}) for entry in about["origins"])
            return cls(about["dataset"], (first, second), **{name: tensors[name] for name in _TENSORS}, origins=origins)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the tensors of observations: {error}") from error


def two_networks(networks: Mapping[str, nn.Module]) -> tuple[str, str]:
    """The two names. Raises TypeError or ValueError unless ``networks`` is a mapping of two."""
    check_networks(networks, "networks")
    if len(networks) != 2:
        raise ValueError(f"networks must be two, the detector's, got {len(networks)} ({', '.join(networks)})")
    first, second = networks
    return first, second


def observe(networks: Mapping[str, nn.Module], images: Images, *, batch_size: int = BATCH_SIZE) -> Observations:
    """Clean images as two networks see them.

    Args:
        networks: two, by name; each is frozen first.
        images: clean images.
        batch_size: images a call.

    Raises:
        TypeError, ValueError: not two networks, networks of different classes, images that are none; or as ``predict``.
    """
    names = two_networks(networks)
    check_images(images)
    first, second = (probabilities(frozen(module), images.x, batch_size, name=name) for name, module in networks.items())
    check_classes(names, first, second)
    y, index = images.y.cpu(), images.index.cpu()
    none = torch.zeros(len(y), dtype=torch.bool)
    both_right = (first.argmax(1) == y) & (second.argmax(1) == y)
    return Observations(images.name, names, first, second, y, index, torch.zeros(len(y)), none, both_right, torch.full_like(y, -1))


def observe_attacked(networks: Mapping[str, nn.Module], attacked: Mapping[str, Adversarials], *, batch_size: int = BATCH_SIZE) -> Observations:
    """Attacked images as two networks see them.

    Args:
        networks: two, by name; each is frozen first.
        attacked: what ``mixture`` made, or several results of ``craft`` on the same data set and source, by the attacks' names in rows.
        batch_size: images a call.

    Raises:
        TypeError, ValueError: no adversarial images, images of different data sets or sources; or as ``observe``.
    """
    two_networks(networks)
    for made in attacked.values():
        if not isinstance(made, Adversarials):
            raise TypeError(f"attacked must map names to what craft makes, got {type(made).__name__}; use mixture")
    sources = sorted({(made.images.name, made.source) for made in attacked.values()})
    if len(sources) != 1:
        raise ValueError(f"attacked must be images of one data set, attacked on one source, got {len(sources)} such sets; observe each by itself")
    models = {name: frozen(module) for name, module in networks.items()}
    parts, origins = [], []
    for number, (title, made) in enumerate(attacked.items()):
        clean = observe(models, made.images, batch_size=batch_size)
        seen = [probabilities(model, made.x, batch_size, name=name) for name, model in models.items()]
        radii = made.eps.cpu() if isinstance(made.eps, Tensor) else torch.full((len(clean),), made.eps)
        fooled = made.source_clean_correct & (made.source_adversarial_predictions != made.images.y)
        parts.append((*seen, clean.y, clean.index, radii, fooled.cpu(), clean.both_right, torch.full_like(clean.y, number)))
        origins.append(Origin(made.source, title, dict(made.parameters), made.seed, tuple(made.flags)))
    columns = dict(zip(_TENSORS, (torch.cat(column) for column in zip(*parts, strict=True)), strict=True))
    return Observations(sources[0][0], clean.networks, **columns, origins=tuple(origins))
