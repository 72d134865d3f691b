"""Detection as the claims want it: one value an image."""

from __future__ import annotations

from qarmor.evaluation.detection.observations import Observations
from qarmor.evaluation.measurements import Measurement


def measurements(clean: Observations, attacked: Observations) -> list[Measurement]:
    """False and true positives by disagreement, image by image, as claims want them: of the first network as source and the second as target.

    Raises:
        ValueError: attacked images of another source than the first network.
    """
    source, target = clean.networks
    if {origin.source for origin in attacked.origins} != {source}:
        sources = ", ".join(origin.source for origin in attacked.origins)
        raise ValueError(f"claims are about attacks on the first network, {source!r}, got attacks on {sources or 'none'}")
    dataset = clean.dataset.removesuffix("/test")
    attack = attacked.origins[0].attack if len(attacked.origins) == 1 else "mixed"
    return [
        Measurement(dataset, "false_positives", source, target, "", 0.0, clean.disagree.double(), clean.index),
        Measurement(dataset, "true_positives", source, target, attack, 0.0, attacked.disagree.double(), attacked.index),
    ]
