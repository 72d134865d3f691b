"""Who is attacked how: images drawn apart, one attack and one strength an image, crafted on one network or on both at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from qarmor.attacks.joint import Joint, Pair
from qarmor.evaluation.checks import check_attack, check_images, check_seed, one_network
from qarmor.evaluation.craft import Adversarials, craft_prepared, look_at
from qarmor.evaluation.detection.observations import two_networks
from qarmor.evaluation.predict import BATCH_SIZE, prepare
from qarmor.types import Attack, Images

EPS_RANGE = (0.02, 0.3)
"""Strengths of the attacks, uniform, in units of the pixel range: the paper says "arbitrary"."""


def split(images: Images, n: int, held_out: int, seed: int) -> tuple[Images, Images, Images]:
    """Three draws that share no image, each in its original order: ``n`` clean ones, ``n`` to attack, and ``held_out`` clean ones for the threshold.

    Raises:
        ValueError: numbers below 1, or more than there are images.
    """
    check_seed(seed)
    if n < 1 or held_out < 1:
        raise ValueError(f"n and held_out must be at least 1, got {n} and {held_out}")
    if 2 * n + held_out > len(images):
        text = f"{n} clean, {n} attacked and {held_out} held-out images are {2 * n + held_out}"
        raise ValueError(f"{text}, but {images.name!r} has {len(images)}; ask for fewer")
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    parts = drawn[:n], drawn[n : 2 * n], drawn[2 * n : 2 * n + held_out]
    clean, attacked, held = (images[part.sort().values.to(images.y.device)] for part in parts)
    return clean, attacked, held


def assign(n: int, attacks: Sequence[str], eps_range: tuple[float, float] = EPS_RANGE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """One attack and one strength for each of ``n`` images.

    Returns:
        Positions in ``attacks``, int64 ``(n,)``, each as often as any other (or once more), in random order; and radii, float32 ``(n,)``, uniform in
        ``eps_range``.

    Raises:
        ValueError: no images, no attacks, one twice, or a range that is empty or leaves [0, 1].
    """
    check_seed(seed)
    low, high = eps_range
    if n < 1 or not attacks or len(set(attacks)) < len(attacks):
        raise ValueError(f"assign needs at least one image and one attack, each attack once, got {n} images and {list(attacks)}")
    if not 0 <= low <= high <= 1:
        raise ValueError(f"eps_range must be (low, high) with 0 <= low <= high <= 1 (the pixel range), got {eps_range}")
    generator = torch.Generator().manual_seed(seed)
    eps = low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
    return torch.randperm(n, generator=generator) % len(attacks), eps.float()


def mixture(
    source: nn.Module | Mapping[str, nn.Module],
    images: Images,
    attacks: Mapping[str, Attack],
    seed: int,
    *,
    eps_range: tuple[float, float] = EPS_RANGE,
    name: str = "source",
    batch_size: int = BATCH_SIZE,
) -> dict[str, Adversarials]:
    """Attack ``source`` on ``images``, each image by one of the attacks at a strength of its own, as ``assign`` says.

    Args:
        source: the network, or a mapping of one name to it; frozen once.
        images: clean images.
        attacks: instances that meet ``types.Attack``, by names that tell them apart, e.g. ``{"pgd-ce": ..., "pgd-margin": ...}``.
        seed: of the assignment and of every attack.
        eps_range: strengths.
        name: the source's name if ``source`` is a bare module.
        batch_size: images a call for what is measured here.

    Returns:
        What each attack made of its images, with one radius an image, by the attack's name in ``attacks``; attacks that got no image are left out.

    Raises:
        TypeError, ValueError: as ``assign`` and ``craft``.
    """
    label, module = one_network(source, name)
    check_images(images)
    for attack in attacks.values():
        check_attack(attack)
    choice, eps = assign(len(images), list(attacks), eps_range, seed)
    device = images.x.device
    choice, eps = choice.to(device), eps.to(device)
    looked = look_at(prepare(label, module, images, batch_size), images, batch_size)
    made = {}
    for number, (title, attack) in enumerate(attacks.items()):
        mine = choice == number
        if mine.any():
            made[title] = craft_prepared(looked.some(mine), images[mine], attack, eps[mine], seed, batch_size)
    return made


def joint_mixture(
    networks: Mapping[str, nn.Module],
    images: Images,
    attacks: Mapping[str, Attack],
    seed: int,
    *,
    eps_range: tuple[float, float] = EPS_RANGE,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Adversarials]:
    """``mixture`` by an attacker who knows the detector: each attack looks for images to which both networks give the same wrong class.

    With the seed and the images of a ``mixture`` each image is attacked by the same attack at the same strength as there. The source's name is
    ``"first+second"``, the attacks' are ``"joint-"`` and their own. Arguments and errors as of ``mixture``.
    """
    name, (first, second) = "+".join(two_networks(networks)), networks.values()
    for attack in attacks.values():
        check_attack(attack)
    joint: dict[str, Attack] = {f"joint-{title}": Joint(attack) for title, attack in attacks.items()}
    return mixture({name: Pair(first, second)}, images, joint, seed, eps_range=eps_range, batch_size=batch_size)
