"""The published recipes by name."""

import dataclasses
import re

from qarmor.training.recipe import Recipe

# The authors' code for a sibling paper (arXiv:2212.00264) trains this circuit so; West et al. do not say how they did (DESIGN 6).
_PAPER = Recipe(
    epochs=1,
    batch_size=32,
    lr=1e-3,
    network={"logit_scale": 5.0, "learn_scale": False, "init": "normal", "padding": "centre"},
    name="paper",
)
_QUANTUM = {
    "paper": _PAPER,
    "bare": dataclasses.replace(_PAPER, network={**_PAPER.network, "logit_scale": 1.0}, name="bare"),
    "tuned": Recipe(epochs=15, batch_size=64, lr=5e-3, schedule="cosine", name="tuned"),
}
# Deep circuits hardly learn while the rate is high (validation accuracies in dev/LOG.md).
_DEEP = 500
_TUNED_DEEP = dataclasses.replace(_QUANTUM["tuned"], epochs=10, lr=2e-3)
_CLASSICAL = {
    "convnet": Recipe(epochs=1, batch_size=64, lr=1e-3, schedule="cosine", name="convnet"),
    "resnet18": Recipe(epochs=1, batch_size=64, lr=1e-3, schedule="cosine", name="resnet18"),
    "linear": Recipe(epochs=10, batch_size=64, lr=3e-3, schedule="cosine", name="linear"),
    "quadratic": Recipe(epochs=3, batch_size=64, lr=3e-4, schedule="cosine", name="quadratic"),
    "mlp": Recipe(epochs=5, batch_size=64, lr=1e-3, schedule="cosine", name="mlp"),
}


def recipe_for(network: str, name: str | None = None) -> Recipe:
    """The recipe ``name`` for a network; by default ``"tuned"`` for QVCs, and the network's own for the others.

    ``"tuned"`` has a lower rate for 500 layers or more.

    Raises:
        ValueError: no such recipe for this network; the message lists those there are.
    """
    if circuit := re.fullmatch(r"qvc(\d+)", network):
        known, default = _QUANTUM, "tuned"
        if int(circuit[1]) >= _DEEP:
            known = {**known, "tuned": _TUNED_DEEP}
    elif network in _CLASSICAL:
        known, default = {network: _CLASSICAL[network]}, network
    else:
        known, default = {"plain": Recipe(epochs=1, name="plain")}, "plain"
    if name is not None and name not in known:
        raise ValueError(f"network {network!r} has no recipe {name!r}; it has {', '.join(known)}")
    return known[name or default]
