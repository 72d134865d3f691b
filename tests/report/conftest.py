"""A results directory with plausible made-up numbers, and names that would break a careless page."""

import json
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest

from qarmor.types import Row, Rows

EVIL = "qvc<script>alert(1)</script>\"'&$x_2$"
NETWORKS = (EVIL, "convnet", "_linear", "quadratic")
KINDS = {EVIL: "quantum"}
CLASSES = ("zero", "<script>alert('one')</script>", 'tw"o & $3$')
EPS = (0.0, 0.05, 0.1, 0.3)
ATTACKS = (("pgd", {"loss": "ce", "steps": 40}), ("pgd", {"loss": "margin", "steps": 40}), ("fgsm", {"loss": "ce"}))
CLEAN = (0.92, 0.985, 0.94, 0.95, 0.97, 0.93)
FRAGILE = (14.0, 5.0, 25.0, 17.0, 6.0, 12.0)


def _wilson(k: int, n: int) -> tuple[float, float]:
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, k / n
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _row(*, metric="accuracy", source="", target, attack="", parameters=None, eps=0.0, share, n, seed=0, flags=()):
    k = round(share * n)
    value = k / n if n else float("nan")
    return Row(
        "digits/test",
        source,
        target,
        attack,
        parameters or {},
        eps,
        metric,
        value,
        k,
        n,
        *_wilson(k, n),
        0.1 * (metric == "accuracy") or None,
        seed,
        "",
        "0.1.0",
        flags,
    )


def make_rows(networks=NETWORKS, attacks=ATTACKS, n=120) -> Rows:
    rows = Rows(_row(target=name, share=CLEAN[i], n=360, flags=("chance-level",) * (i == 3)) for i, name in enumerate(networks))
    for a, (attack, parameters) in enumerate(attacks):
        for s, source in enumerate(networks):
            for eps in EPS:
                for t, target in enumerate(networks):
                    share = CLEAN[t] * exp(-eps * FRAGILE[t] * (1.0 if s == t else 0.35 + 0.06 * ((s + t) % 3)) * (1 + 0.15 * a))
                    common = {"source": source, "target": target, "attack": attack, "parameters": parameters, "eps": eps, "seed": 3}
                    flags = ("transfer-beats-white-box", "made-up-flag") if (s, t, eps) == (1, 1, 0.1) else ()
                    rows.append(_row(**common, share=share, n=n, flags=flags))
                    rows.append(
                        _row(**common, metric="fooling_rate", share=1 - share / CLEAN[t], n=0 if (s, t, eps) == (0, 2, 0.3) else n - 10, flags=flags)
                    )
    return rows


def make_provenance(networks=NETWORKS, kinds=KINDS) -> dict:
    return {
        "title": "Robustness of <b>digits</b>",
        "command": "qarmor demo --seed 0 && echo '<done>'",
        "started": "2026-01-02T03:04:05Z",
        "seconds": 73.8,
        "machine": "a laptop, 2 cores",
        "versions": {"torch": "2.13.0", "numpy": "2.4.6", "qarmor": "0.1.0"},
        "seeds": {"training": 0, "images": [1, 2]},
        "sources": {"digits.csv.gz": "ab" * 32},
        "networks": {
            name: {
                "architecture": "60 layers of rotations and CZ on 10 qubits" if kinds.get(name) == "quantum" else "layers",
                "parameters": 1800 * (i + 1),
                "recipe": "tuned: Adam 5e-3, cosine, batch 64, 20 epochs",
                "clean_accuracy": CLEAN[i],
                "seconds": 12.3 * (i + 1),
                "kind": kinds.get(name, "classical"),
                "sha256": "0123456789abcdef" * 4,
            }
            for i, name in enumerate(networks)
        },
        "dataset": {"name": "digits", "train": 1437, "test": 360, "shape": [1, 8, 8], "classes": list(CLASSES), "majority": 0.1},
        "circuit_kernel": "numba, AVX2",
    }


def make_directory(folder: Path, networks=NETWORKS, kinds=KINDS, classes=CLASSES, pictures=2, attacks=ATTACKS) -> Path:
    """Writes every file of a results directory."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").write_text(make_rows(networks, attacks).to_json())
    (folder / "provenance.json").write_text(json.dumps(make_provenance(networks, kinds)))
    steps = list(range(10, 400, 10))
    history = {
        name: {
            "steps": steps,
            "loss": [2.3 * exp(-s / (60 + 40 * i)) + 0.05 * (1 + rng.random()) for s in steps],
            "accuracy_steps": steps[::4],
            "accuracy": [CLEAN[i] * (1 - exp(-s / (50 + 20 * i))) for s in steps[::4]],
        }
        for i, name in enumerate(networks)
    }
    (folder / "history.json").write_text(json.dumps(history))
    across = np.linspace(-1, 1, 8)
    clean = np.clip(1.4 - 2.2 * abs(np.hypot(*np.meshgrid(across, across)) - 0.6)[None, None] + 0.1 * rng.standard_normal((pictures, 1, 8, 8)), 0, 1)
    arrays, about = {}, {}
    for i, name in enumerate(networks):
        perturbation = 0.1 * np.sign(
            rng.standard_normal((pictures, 1, 8, 8)) if i % 2 else np.sin(3 * across)[:, None] * np.ones((pictures, 1, 8, 8))
        )
        arrays |= {f"{name}/clean": clean, f"{name}/perturbation": perturbation, f"{name}/adversarial": np.clip(clean + perturbation, 0, 1)}
        about[name] = {
            "labels": [k % len(classes) for k in range(pictures)],
            "clean_predictions": [k % len(classes) for k in range(pictures)],
            "adversarial_predictions": [(k + k % 2) % len(classes) for k in range(pictures)],
            "low_frequency_share": 0.31 + 0.1 * i,
        }
    np.savez(folder / "gallery.npz", **{key: value.astype(np.float32) for key, value in arrays.items()})
    (folder / "gallery.json").write_text(json.dumps({"eps": 0.1, "attack": "pgd", "networks": about, "classes": list(classes)}))
    logits = {name: [[2 - 30 * e * (k == 1) + 0.4 * k * e * (i + 9) for k in range(len(classes))] for e in EPS] for i, name in enumerate(networks)}
    tables = {name: [(np.exp(line) / np.exp(line).sum()).tolist() for line in lines] for name, lines in logits.items()}
    found = {"label": 1, "classes": list(classes), "attack": "pgd", "eps": list(EPS), "networks": tables}
    (folder / "probabilities.json").write_text(json.dumps(found))
    np.savez(folder / "probabilities.npz", image=clean[0].astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def evil_name() -> str:
    return EVIL


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """A directory with every part and its page; not to be changed."""
    from qarmor import report

    folder = make_directory(tmp_path_factory.mktemp("report") / "results")
    report.write(folder)
    return folder


@pytest.fixture
def results(tmp_path) -> Path:
    """A directory with every part, without its page, to be changed."""
    return make_directory(tmp_path / "results")


@pytest.fixture
def small(tmp_path) -> Path:
    """As ``results``, with two networks and one attack, which is quickly drawn."""
    return make_directory(tmp_path / "small", NETWORKS[:2], attacks=ATTACKS[:1])
