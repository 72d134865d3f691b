"""How tight certificates are: radii of trained circuits beside the smallest attack that succeeds, and what they cost.

    python benchmarks/certificates.py [--datasets mnist fashion-mnist] [--layers 200] [--epochs 5] [--scale 15] [--images 250] [--out FOLDER]

Trains a circuit a data set (kept in --cache and not trained again), computes all four certified l_inf radii of test images and, by bisection
over eps, the smallest perturbation by PGD on the margin that fools the circuit. A row a data set and certificate: the median of radius over smallest
attack with its 95 % interval, on images that were named rightly and then fooled, and violations: attacks that succeeded within a certified radius.
The figure shows certified accuracy and accuracy under the attack against eps; the truth lies in the band between them. --scale is where the factor
of the logits starts in training: smaller ones train circuits that are more robust and less accurate.
"""

import argparse
import dataclasses
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import measure
import torch
from torch import Tensor

import qarmor
from qarmor import attacks, evaluation, models, training
from qarmor.evaluation.certificates import radii
from qarmor.evaluation.tightness import smallest_successful_attack, tightness
from qarmor.types import Dataset

COLUMNS = ("dataset", "accuracy", "certificate", "median_radius", "ratio", "low", "high", "n", "violations", "seconds_radii", "seconds_attack")


def trained(dataset: Dataset, options: argparse.Namespace) -> models.QVC:
    """The circuit, from the cache if it is there."""
    file = options.cache / f"{dataset.name}-qvc{options.layers}-scale{options.scale:g}-epochs{options.epochs}.safetensors"
    if not file.exists():
        name = f"qvc{options.layers}"
        recipe = dataclasses.replace(training.recipe_for(name), epochs=options.epochs)
        model = models.build(name, dataset, seed=0, **recipe.network, logit_scale=options.scale)
        training.fit(model, dataset.train, recipe)
        models.save(model, file)
    found = models.load(file)
    assert isinstance(found, models.QVC)
    return found


def measured(dataset: Dataset, options: argparse.Namespace) -> tuple[list[dict[str, Any]], Mapping[str, Tensor]]:
    """A row a certificate, and for the figure the radii by name with the smallest successful attack as ``"attack"``."""
    frozen = trained(dataset, options).freeze()
    images = dataset.test.subset(min(options.images, len(dataset.test)), seed=0)
    accuracy = evaluation.clean({"qvc": frozen}, dataset.test)[0].value
    began = time.perf_counter()
    found = radii(frozen.quadratic().A, images.x, images.y)
    computed = time.perf_counter()
    smallest = smallest_successful_attack(frozen, images, attacks.PGD(loss="margin", restarts=options.restarts))
    took = {"seconds_radii": computed - began, "seconds_attack": time.perf_counter() - computed}
    rows = []
    for name, value in found.in_linf.items():
        tight = tightness(value, smallest.eps)
        entry = {"dataset": dataset.name, "accuracy": accuracy, "certificate": name, "median_radius": float(value[found.correct].median())}
        rows.append({**entry, **dataclasses.asdict(tight), "ratio": tight.median, **took})
    return rows, {**found.in_linf, "attack": smallest.eps}


def draw(curves: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    """Share of images with a larger radius, against eps, a panel a data set."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4), squeeze=False, layout="constrained")
    for axis, (dataset, radii_of) in zip(axes.flat, curves.items(), strict=True):
        fooled = radii_of["attack"][(radii_of["attack"] > 0) & radii_of["attack"].isfinite()]
        grid = torch.linspace(0, 2 * float(fooled.median()) if len(fooled) else 0.1, 200, dtype=torch.float64)
        for name, values in radii_of.items():
            style = {"color": "black", "linewidth": 2} if name == "attack" else {}
            label = "accuracy under attack" if name == "attack" else f"certified: {name}"
            axis.plot(grid, [float((values > eps).double().mean()) for eps in grid], label=label, **style)
        axis.set(title=dataset, xlabel="eps", ylabel="accuracy", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=15.0)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--restarts", type=int, default=1, help="of PGD, at every eps")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "qarmor-certificates", help="folder for trained circuits")
    parser.add_argument("--out", type=Path, default=measure.RESULTS)
    return parser


def main() -> None:
    """Train, certify, attack; print a table, write a JSON and a figure."""
    options = _parser().parse_args()
    about = measure.machine()
    measure.pin()
    rows: list[dict[str, Any]] = []
    curves = {}
    for name in options.datasets:
        found, curves[name] = measured(qarmor.load(name), options)
        rows += [{key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()} for row in found]
    path = measure.write("certificates", vars(options), rows, about, options.out)
    draw(curves, options.out / "certificates.svg")
    print(f"{about['processor']}, torch {about['versions']['torch']}; QVC{options.layers}, scale {options.scale:g}, {options.epochs} epochs\n")
    print(measure.table(rows, COLUMNS), path, sep="\n\n")


if __name__ == "__main__":
    main()
