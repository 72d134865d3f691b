"""Adversarial images: an attack on one network, measured again and rejected where it broke its promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qarmor.attacks.base import BaseAttack
from qarmor.attacks.eot import Wrapper
from qarmor.attacks.findings import Finding, refuse_errors
from qarmor.attacks.journal import Progress
from qarmor.attacks.preflight import concerning, needs_gradient, preflight
from qarmor.evaluation.checks import check_attack, check_images, check_seed, checked_eps, one_network
from qarmor.evaluation.flags import gradient_flags
from qarmor.evaluation.predict import BATCH_SIZE, Network, evaluating, gradient_norms, placement, predict, prepare
from qarmor.types import Attack, Images

TOLERANCE = 1e-6
"""What an attack may exceed the ball and the box by: float32 rounding of ``x + eps`` is below 1e-7."""


@dataclass(frozen=True, eq=False)
class Adversarials:
    """Adversarial images and everything needed to say where they come from. All tensors are on the device of ``images``.

    Attributes:
        x: float32, shaped as ``images.x``, in [0, 1] and within ``eps`` of it (l_inf, up to 1e-6).
        images: the clean images.
        source: name of the network that was attacked.
        attack: name of the attack.
        parameters: its hyperparameters, JSON values.
        eps: radius, a float, or float32 ``(N,)`` with one per image.
        seed: seed of the attack.
        gradient_norms: float32 ``(N,)``, largest absolute component of the source's cross-entropy gradient at the clean image; NaN if not finite.
        source_clean_predictions: int64 ``(N,)``, what the source says of the clean images.
        source_adversarial_predictions: int64 ``(N,)``, what it says of ``x``, asked again after the attack.
        flags: validity flags of the source (``evaluation.FLAGS``): of its gradients, if the attack follows them, and warnings of ``preflight``.
    """

    x: Tensor
    images: Images
    source: str
    attack: str
    parameters: Mapping[str, Any]
    eps: float | Tensor
    seed: int
    gradient_norms: Tensor
    source_clean_predictions: Tensor
    source_adversarial_predictions: Tensor
    flags: tuple[str, ...]

    @property
    def source_clean_correct(self) -> Tensor:
        """Which clean images the source names rightly, bool ``(N,)``."""
        return self.source_clean_predictions == self.images.y

    @property
    def source_adversarial_correct(self) -> Tensor:
        """Which adversarial images the source still names rightly, bool ``(N,)``."""
        return self.source_adversarial_predictions == self.images.y


def craft(
    source: nn.Module | Mapping[str, nn.Module],
    images: Images,
    attack: Attack,
    eps: float | Tensor,
    seed: int,
    *,
    name: str = "source",
    batch_size: int = BATCH_SIZE,
    checkpoint: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Adversarials:
    """Attack ``source`` on ``images``.

    The source is frozen first (``types.frozen``); it stays as it was. The attack gets all images at once, on the source's device, and is not
    trusted: shape, norm, box and predictions are measured again from what it returned. The source is not trusted either: unless every eps is 0,
    ``attacks.preflight`` looks at some of its images first, so that a masked gradient is not reported as robustness.

    Args:
        source: the network, or a mapping of one name to it.
        images: clean images, float32 in [0, 1].
        attack: an instance that meets ``types.Attack``.
        eps: l_inf radius in units of the pixel range, in [0, 1]; a number, or a tensor ``(N,)`` with one per image.
        seed: seed handed to the attack.
        name: the source's name if ``source`` is a bare module.
        batch_size: images a call for what is measured here; the attack has its own.
        checkpoint, on_progress: handed to the attack, if it is one of ours (``attacks.BaseAttack``).

    Raises:
        TypeError: an argument of the wrong kind; an attack whose parameters are not JSON values or that returns no float tensor.
        ValueError: bad images (empty, NaN, outside [0, 1], all zero, labels that the source doesn't have), eps or seed; a source that returns
            NaN, another batch size or one logit; a source with which preflight finds an error (``CheckError``; docs/checks.md); an attack that
            returns another shape or NaN, or leaves the ball or the box by more than 1e-6.
    """
    label, module = one_network(source, name)
    check_images(images)
    check_attack(attack)
    check_seed(seed)
    radius = checked_eps(eps, images)
    looked = look_at(prepare(label, module, images, batch_size), images, batch_size)
    return craft_prepared(looked, images, attack, radius, seed, batch_size, checkpoint=checkpoint, on_progress=on_progress)


@dataclass(frozen=True, eq=False)
class Source:
    """A prepared network and what was seen of it as one to attack: looked at once, whatever the number of attacks.

    Attributes:
        network: name, frozen module and clean predictions.
        norms: float32 ``(N,)``, see ``Adversarials.gradient_norms``.
        findings: of ``attacks.preflight``, on a few of the images.
    """

    network: Network
    norms: Tensor
    findings: tuple[Finding, ...]

    def some(self, which: Tensor) -> Source:
        """The same for those of the images ``which``, bool ``(N,)`` or positions."""
        network = replace(self.network, clean_predictions=self.network.clean_predictions[which])
        return Source(network, self.norms[which], self.findings)


def look_at(network: Network, images: Images, batch_size: int = BATCH_SIZE) -> Source:
    """Gradients on all of ``images`` and ``preflight`` on a few of them."""
    device, dtype = placement(network.model, images.x)
    findings = preflight(network.model, images.x.to(device, dtype), images.y.to(device))
    return Source(network, gradient_norms(network, images, batch_size), findings)


def craft_prepared(
    source: Source,
    images: Images,
    attack: Attack,
    eps: float | Tensor,
    seed: int,
    batch_size: int = BATCH_SIZE,
    *,
    checkpoint: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Adversarials:
    """``craft`` with arguments that have been checked and a network that has been looked at, for callers that attack it more than once."""
    network, norms = source.network, source.norms
    device, dtype = placement(network.model, images.x)
    # Copies, so that an attack that writes into its arguments changes neither the images nor what it is measured against.
    x, y = images.x.to(device, dtype, copy=True), images.y.to(device, copy=True)
    radius = eps.to(device, dtype, copy=True) if isinstance(eps, Tensor) else eps
    moves = bool(eps.any()) if isinstance(eps, Tensor) else eps > 0
    flags = _flags(source, attack, images.name) if moves else ()
    if isinstance(attack, BaseAttack | Wrapper):
        attack = attack.for_classes(network.classes)  # a row names the suite that ran
    with evaluating(network.model):
        if isinstance(attack, BaseAttack):
            returned = attack(network.model, x, y, radius, seed=seed, checkpoint=checkpoint, on_progress=on_progress)
        else:
            returned = attack(network.model, x, y, radius, seed=seed)
    adversarial = _checked(returned, images, attack.name, eps)
    predictions = predict(network.model, adversarial, batch_size, name=network.name).argmax(1)
    clean, parameters = network.clean_predictions, dict(attack.parameters)
    return Adversarials(adversarial, images, network.name, attack.name, parameters, eps, seed, norms, clean, predictions, flags)


def _flags(source: Source, attack: Attack, images: str) -> tuple[str, ...]:
    """Flags of a source that can be attacked: of its gradients on all images, if the attack follows them, and warnings of ``preflight`` on a few."""
    warnings = refuse_errors(f"network {source.network.name!r} on images {images!r}", concerning(attack, source.findings))
    return (*(gradient_flags(source.norms) if needs_gradient(attack) else ()), *(finding.check.code for finding in warnings))


def _checked(returned: object, images: Images, attack: str, eps: float | Tensor) -> Tensor:
    """What the attack returned, as float32 on the device of the images; raises if it broke its promise."""
    blame = f"attack {attack!r} on images {images.name!r}"
    if not isinstance(returned, Tensor) or not returned.is_floating_point():
        raise TypeError(f"{blame} must return a float tensor, got {returned.dtype if isinstance(returned, Tensor) else type(returned).__name__}")
    if returned.shape != images.x.shape:
        raise ValueError(f"{blame} must return shape {tuple(images.x.shape)}, that of its images, got {tuple(returned.shape)}")
    x = returned.detach().to(images.x.device, torch.float32)
    norm = (x - images.x).flatten(1).abs().amax(1)  # NaN if any pixel is
    low, high = x.flatten(1).aminmax(dim=1)
    for excess, leaves, remedy in (
        (norm - eps, "the l_inf ball of its eps", "clamp to [x - eps, x + eps]"),
        (torch.maximum(-low, high - 1), "the box [0, 1]", "clamp to [0, 1]"),
    ):
        if excess.isnan().any():
            raise ValueError(f"{blame} returned NaN in image {int(images.index[excess.isnan()][0])}; it must return the best image it saw")
        worst = int(excess.argmax())
        if excess[worst] > TOLERANCE:
            raise ValueError(f"{blame}: image {int(images.index[worst])} leaves {leaves} by {float(excess[worst]):.3g}; {remedy} before returning")
    return x.clamp(0, 1)
