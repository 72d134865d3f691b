"""Accuracy on a validation part of the training images for recipes of a network: what recipes are chosen by, never on test images.

python benchmarks/recipes.py DATASET NETWORK [--epochs 4 8] [--lr 1e-3 3e-3] [--scale 8 64] [--part 6] [--split 7]
"""

import argparse
import dataclasses
import itertools
import time

import torch

from qarmor import data, evaluation, models, training


def main() -> None:
    """One line a recipe: accuracy on one ``part``-th of the training images, after training on the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("network")
    parser.add_argument("--epochs", type=int, nargs="+")
    parser.add_argument("--lr", type=float, nargs="+")
    parser.add_argument("--scale", type=float, nargs="+", help="of a quadratic control, or the starting scale of a QVC")
    parser.add_argument("--part", type=int, default=6)
    parser.add_argument("--split", type=int, default=7, help="seed of the split")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = data.load(arguments.dataset)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(arguments.split))
    held = len(order) // arguments.part
    validation, train = dataset.train[order[:held]], dataset.train[order[held:]]
    base = training.recipe_for(arguments.network)
    option = "scale" if arguments.network == "quadratic" else "logit_scale"
    for epochs, lr, scale in itertools.product(arguments.epochs or [base.epochs], arguments.lr or [base.lr], arguments.scale or [None]):
        recipe = dataclasses.replace(base, epochs=epochs, lr=lr)
        options = dict(base.network) if scale is None else {**base.network, option: scale}
        model = models.build(arguments.network, dataset, seed=0, **options)
        began = time.perf_counter()
        history = training.fit(model, train, recipe, validation=validation)
        row = evaluation.clean({arguments.network: model}, validation)[0]
        curve = " ".join(f"{a:.3f}" for a in history.accuracy[:: max(1, len(history.accuracy) // epochs)])
        print(
            f"{arguments.dataset} {arguments.network} epochs {epochs} lr {lr:g} scale {scale}: {row.value:.4f} of {row.n} "
            f"(loss {history.loss[-1]:.3f}; {time.perf_counter() - began:.0f} s; along the way {curve})",
            flush=True,
        )


if __name__ == "__main__":
    main()
