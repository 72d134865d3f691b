"""Class probabilities of one image as the attack grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qarmor.evaluation.checks import check_attack, check_images, check_networks, check_seed, checked_grid
from qarmor.evaluation.craft import craft_prepared, look_at
from qarmor.evaluation.predict import predict, prepare
from qarmor.types import Attack, Images


@dataclass(frozen=True, eq=False)
class ProbabilityCurves:
    """Softmax probabilities of one image against eps.

    Attributes:
        dataset: name of the images.
        index: the image's position in the original set.
        label: its true class.
        attack: name of the attack.
        eps: the grid, E values.
        seed: seed of the attack.
        probabilities: for each network float64 ``(E, K)`` on the CPU; rows sum to 1.
    """

    dataset: str
    index: int
    label: int
    attack: str
    eps: tuple[float, ...]
    seed: int
    probabilities: Mapping[str, Tensor]


def probabilities_against_eps(
    models: Mapping[str, nn.Module], image: Images, attack: Attack, eps_grid: Sequence[float], seed: int
) -> ProbabilityCurves:
    """Attack each network itself (white box) on one image at each eps, and take the softmax of its logits.

    The softmax depends on the scale of the logits, which differs between networks; where the curves cross doesn't.

    Args:
        models: networks by name; each is frozen once.
        image: ``Images`` of length 1.
        attack: an instance that meets ``types.Attack``.
        eps_grid: strictly rising, each in [0, 1].
        seed: seed handed to the attack.

    Raises:
        TypeError, ValueError: as ``transfer``; ValueError also if there is more than one image.

    Source: Fig. 1 e, f of West et al. (2023).
    """
    check_networks(models, "models")
    check_images(image)
    check_attack(attack)
    check_seed(seed)
    grid = checked_grid(eps_grid)
    if len(image) != 1:
        raise ValueError(f"image must hold one image, got {len(image)}; pass a slice: images[i : i + 1]")
    curves = {}
    for name, module in models.items():
        network = prepare(name, module, image)
        source = look_at(network, image)
        attacked = [craft_prepared(source, image, attack, eps, seed).x for eps in grid]
        curves[name] = predict(network.model, torch.cat(attacked), name=name).cpu().double().softmax(1)
    return ProbabilityCurves(image.name, int(image.index[0]), int(image.y[0]), attack.name, grid, seed, curves)
