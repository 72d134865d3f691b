"""A detector measured from end to end: images drawn, attacked, looked at by both networks, and every rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qarmor.evaluation.detection.mixing import EPS_RANGE, joint_mixture, mixture, split
from qarmor.evaluation.detection.observations import Observations, observe, observe_attacked
from qarmor.evaluation.detection.rates import evaluate_detection
from qarmor.types import Attack, Images, Rows

CLEAN, HELD_OUT = "clean", "held-out"


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was seen, and what follows from it.

    Attributes:
        seen: observations of ``"clean"`` and ``"held-out"`` images and, by the source that was attacked, of attacked ones; last of those on both.
        x: the images themselves, by the same names and in the same order.
        rows: of ``evaluate_detection``.
    """

    seen: Mapping[str, Observations]
    x: Mapping[str, Tensor]
    rows: Rows


def measure(
    networks: Mapping[str, nn.Module],
    images: Images,
    attacks: Mapping[str, Attack],
    adaptive: Mapping[str, Attack],
    n: int,
    seed: int,
    *,
    image_seed: int,
    sources: Sequence[str],
    eps_range: tuple[float, float] = EPS_RANGE,
    false_positive_rate: float = 0.05,
) -> Measurement:
    """Measure the detector of two networks.

    Args:
        networks: the two, by name.
        images: test images: ``n`` are left clean, ``n`` attacked, ``n`` held out for the threshold.
        attacks, adaptive: by name; those on one network, and those of the attacker who knows both.
        n: at most a third of the images.
        seed: of attacks and of who gets which.
        image_seed: of the draw.
        sources: names of the networks that are attacked alone.
        eps_range: strengths.
        false_positive_rate: for the threshold.

    Raises:
        TypeError, ValueError: as ``split``, ``mixture`` and ``evaluate_detection``.
    """
    clean, target, held_out = split(images, n, n, image_seed)
    made = {name: mixture({name: networks[name]}, target, attacks, seed, eps_range=eps_range) for name in sources}
    made["+".join(networks)] = joint_mixture(networks, target, adaptive, seed, eps_range=eps_range)
    untouched = {CLEAN: clean, HELD_OUT: held_out}
    seen = {name: observe(networks, some) for name, some in untouched.items()}
    attacked = {name: observe_attacked(networks, mixed) for name, mixed in made.items()}
    rows = evaluate_detection(seen[CLEAN], list(attacked.values()), seen[HELD_OUT], false_positive_rate=false_positive_rate)
    x = {name: some.x for name, some in untouched.items()} | {name: torch.cat([part.x for part in mixed.values()]) for name, mixed in made.items()}
    return Measurement({**seen, **attacked}, x, rows)
