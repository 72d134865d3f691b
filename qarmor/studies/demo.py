"""The demonstration: a quantum and four classical networks trained and attacked on the embedded digits, as one page."""

import dataclasses
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qarmor import attacks, circuits, data, evaluation, models, report, training
from qarmor.studies.threads import pinned
from qarmor.training import Recipe
from qarmor.types import CODE_VERSION, Attack, Dataset, Images, Rows

Say = Callable[[str, float], None]

# The digits are few (1437 images), so everything trains for more epochs than the recipes for the large sets.
NETWORKS: Mapping[str, Recipe] = {
    "qvc100": Recipe(epochs=12, batch_size=32, lr=5e-3, schedule="cosine", name="digits"),
    "convnet": Recipe(epochs=8, batch_size=32, lr=1e-3, schedule="cosine", name="digits"),
    "resnet18": Recipe(epochs=4, batch_size=32, lr=1e-3, schedule="cosine", name="digits"),
    "linear": Recipe(epochs=40, batch_size=32, lr=5e-3, schedule="cosine", name="digits"),
    "quadratic": Recipe(epochs=20, batch_size=32, lr=5e-3, schedule="cosine", name="digits"),
}
QUANTUM = ("qvc100",)
EPS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
PROBABILITY_EPS = tuple(round(0.02 * i, 2) for i in range(16))
GALLERY_EPS = 0.1
IMAGES = 200
_PGD_20 = "PGD of 20 steps on the cross-entropy"
_VERSIONS = ("torch", "numpy", "numba", "scikit-learn")


def demo_attacks() -> tuple[Attack, ...]:
    """The attacks of the demonstration."""
    return (attacks.PGD(steps=20, loss="ce"), attacks.PGD(steps=20, loss="margin"), attacks.FGSM())


def run(out: Path, *, seed: int = 0, command: str = "qarmor demo", say: Say = lambda text, fraction: None) -> Path:
    """Train, attack, and write the page.

    Args:
        out: folder, made if need be; files of an earlier run in it are replaced.
        seed: of weights, batches, images and attacks.
        command: recorded in the page.
        say: told what is being done, and which fraction of the whole is done.

    Returns:
        Path of the page, ``out/index.html``.
    """
    with pinned(1):
        return _run(out, seed, command, say)


def _run(out: Path, seed: int, command: str, say: Say) -> Path:
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    out.mkdir(parents=True, exist_ok=True)
    dataset = data.load("digits")
    images = dataset.test.subset(IMAGES, seed)
    networks, about = _train(dataset, out, seed, say)
    rows = Rows()
    for number, attack in enumerate(demo_attacks()):

        def told(done: int, total: int, text: str, number: int = number) -> None:
            say(text, 0.4 + 0.18 * (number + done / total))

        more = evaluation.transfer(networks, networks, images, attack, EPS, seed, on_progress=told)
        rows = rows + (row for row in more if number == 0 or row.attack)  # clean rows once
    say("perturbations and probabilities", 0.95)
    (out / "rows.json").write_text(evaluation.flag(rows).to_json())
    _gallery(networks, dataset, images, seed, out)
    _probabilities(networks, dataset, images, seed, out)
    provenance = {
        "title": "QArmor demonstration: handwritten digits",
        "command": command,
        "started": started,
        "seconds": time.monotonic() - began,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; one thread used",
        "versions": {"qarmor": CODE_VERSION, "python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
        "seeds": {"weights, batches, images and attacks": seed},
        "sources": dict(dataset.sources),
        "networks": about,
        "dataset": {
            "name": dataset.name,
            "train": len(dataset.train),
            "test": len(dataset.test),
            "shape": list(dataset.shape),
            "classes": list(dataset.classes),
            "majority": evaluation.majority(dataset.test.y),
        },
        "circuit_kernel": str(circuits.choose(torch.float32, "cpu")),
    }
    _write_json(out / "provenance.json", provenance)
    say("writing the page", 0.97)
    return report.write(out)


def _train(dataset: Dataset, out: Path, seed: int, say: Say) -> tuple[dict[str, nn.Module], dict[str, dict[str, Any]]]:
    networks: dict[str, nn.Module] = {}
    about: dict[str, dict[str, Any]] = {}
    history = {}
    for number, (name, recipe) in enumerate(NETWORKS.items()):
        began = time.monotonic()
        model = models.build(name, dataset, seed=seed, **recipe.network)

        def told(p: training.Progress, name: str = name, number: int = number) -> None:
            say(f"training {name}: loss {p.loss:.3f}, accuracy {p.accuracy:.3f}", 0.4 * (number + p.step / p.steps) / len(NETWORKS))

        curve = training.fit(model, dataset.train, recipe, validation=dataset.test, seed=seed, on_progress=told)
        accuracy = evaluation.clean({name: model}, dataset.test)[0].value
        file = models.save(
            model, out / "networks" / f"{name}.safetensors", recipe=recipe.record(), dataset=dataset.name, seed=seed, accuracy=accuracy
        )
        networks[name] = model
        history[name] = {"steps": curve.steps, "loss": curve.loss, "accuracy_steps": curve.accuracy_steps, "accuracy": curve.accuracy}
        about[name] = {
            "architecture": _architecture(model),
            "parameters": sum(p.numel() for p in model.parameters()),
            "recipe": f"Adam {recipe.lr:g}, {recipe.schedule}, batch {recipe.batch_size}, {recipe.epochs} epochs",
            "clean_accuracy": accuracy,
            "seconds": time.monotonic() - began,
            "kind": "quantum" if name in QUANTUM else "classical",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    _write_json(out / "history.json", history)
    return networks, about


def _architecture(model: nn.Module) -> str:
    if isinstance(model, models.QVC):
        return f"{model.ansatz.qubits} qubits, {model.ansatz.layers} layers, {sum(model.ansatz.gates.values())} gates"
    return type(model).__name__


def _gallery(networks: Mapping[str, nn.Module], dataset: Dataset, images: Images, seed: int, out: Path) -> None:
    """Perturbations of the first image of each of six classes, by every network's own attack."""
    firsts = torch.stack([(images.y == k).nonzero()[0, 0] for k in torch.unique(images.y)[:6]])
    attack = attacks.PGD(steps=20)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    entries = {}
    for name, model in networks.items():
        everything = evaluation.craft({name: model}, images, attack, GALLERY_EPS, seed)
        shares = evaluation.gallery(everything, 1)
        shown = evaluation.gallery(dataclasses.replace(everything, **_only(everything, firsts)), len(firsts))
        for part, tensor in (("clean", shown.clean), ("adversarial", shown.adversarial), ("perturbation", shown.perturbation)):
            arrays[f"{name}/{part}"] = tensor.numpy()
        entries[name] = {
            "labels": shown.labels.tolist(),
            "clean_predictions": shown.clean_predictions.tolist(),
            "adversarial_predictions": shown.adversarial_predictions.tolist(),
            "low_frequency_share": shares.mean_low_frequency_share,
        }
    np.savez_compressed(out / "gallery.npz", **arrays)  # type: ignore[arg-type]
    _write_json(out / "gallery.json", {"eps": GALLERY_EPS, "attack": _PGD_20, "classes": list(dataset.classes), "networks": entries})


def _only(adversarials: evaluation.Adversarials, which: torch.Tensor) -> dict[str, Any]:
    """The fields of ``adversarials`` that hold a value an image, for the images ``which``."""
    fields = ("x", "images", "gradient_norms", "source_clean_predictions", "source_adversarial_predictions")
    return {name: getattr(adversarials, name)[which] for name in fields}


def _probabilities(networks: Mapping[str, nn.Module], dataset: Dataset, images: Images, seed: int, out: Path) -> None:
    """Class probabilities against eps of the first image that all networks get right."""
    right = torch.stack([evaluation.correct(model, images) for model in networks.values()]).all(0)
    first = int(right.nonzero()[0]) if right.any() else 0
    attack = attacks.PGD(steps=20)
    curves = evaluation.probabilities_against_eps(networks, images[first : first + 1], attack, PROBABILITY_EPS, seed)
    np.savez_compressed(out / "probabilities.npz", image=images.x[first].numpy())
    entry = {
        "label": curves.label,
        "classes": list(dataset.classes),
        "attack": _PGD_20,
        "eps": list(curves.eps),
        "networks": {name: values.tolist() for name, values in curves.probabilities.items()},
    }
    _write_json(out / "probabilities.json", entry)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))
