"""A results directory as a study leaves it, with plausible made-up numbers, and names that would break a careless page."""

import json
from math import exp
from pathlib import Path

import numpy as np
import pytest

from qarmor.types import Row, Rows
from tests.report import sections as made
from tests.report.sections import wilson

EVIL = "qvc<script>alert(1)</script>\"'&$x_2$"
EVIL_SET = "digits<script>alert(2)</script>"
EVIL_SECTION = "fig3<script>alert(3)</script>"
NETWORKS = (EVIL, "convnet", "_linear", "quadratic")
CLASSES = ("zero", "<script>alert('one')</script>", 'tw"o & $3$')
EPS = (0.0, 0.05, 0.1, 0.3)
ATTACKS = {"pgd": ("pgd", {"loss": "ce", "steps": 40}, "PGD (ce)"), "pgd-margin": ("pgd", {"loss": "margin", "steps": 40}, "PGD (margin)")}
CLEAN = (0.92, 0.985, 0.94, 0.95, 0.97, 0.93, 0.91, 0.88, 0.96)
FRAGILE = (14.0, 5.0, 25.0, 17.0, 6.0, 12.0, 9.0, 15.0, 7.0)
VARIANTS = ("tuned", "paper", "linear", "quadratic")
WORDS = ("holds", "fails", "undecided")


def make_row(
    dataset, *, metric="accuracy", source="", target, attack="", parameters=None, eps=0.0, share, n, majority=0.1, seed=0, key="", flags=()
) -> Row:
    k = round(share * n)
    value = k / n if n else float("nan")
    majority = majority if metric == "accuracy" else None
    return Row(
        f"{dataset}/test", source, target, attack, parameters or {}, eps, metric, value, k, n, *wilson(k, n), majority, seed, key, "0.1.0", flags
    )


class Maker:
    """What a results directory is made of; the defaults are small and evil."""

    def __init__(self, folder, datasets=(EVIL_SET, "cifar2"), networks=NETWORKS, sources=None, attacks=ATTACKS, eps=EPS, pictures=2, n=120):
        self.folder, self.datasets, self.networks, self.attacks, self.eps, self.pictures, self.n = (
            Path(folder),
            datasets,
            networks,
            attacks,
            eps,
            pictures,
            n,
        )
        self.sources = sources or networks
        self.rng = np.random.default_rng(0)
        self.rows = Rows()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "arrays").mkdir(exist_ok=True)

    def section(self, name, kind, *, item="", title="", note="", status="complete", reason="", paper=(), **more):
        common = {"name": name, "item": item, "title": title or f"The {kind} of {name}", "kind": kind, "note": note, "datasets": list(self.datasets)}
        done = {"complete": 12, "partial": 7, "missing": 0}[status]
        return common | {"status": status, "done": done, "planned": 12, "reason": reason, "paper": list(paper), **more}

    def clean_rows(self, dataset, key, n):
        self.rows += (
            make_row(dataset, target=name, share=CLEAN[i % 9], n=n, key=key, flags=("chance-level",) * (i == 3))
            for i, name in enumerate(self.networks)
        )

    def transfer_rows(self, dataset, key):
        for a, (attack, parameters, _) in enumerate(self.attacks.values()):
            for s, source in enumerate(self.sources):
                for eps in self.eps:
                    for t, target in enumerate(self.networks):
                        rate = FRAGILE[t % 9] * (1.0 if source == target else 0.35 + 0.06 * ((s + t) % 3)) * (1 + 0.15 * a)
                        share = CLEAN[t % 9] * exp(-eps * rate)
                        common = {"source": source, "target": target, "attack": attack, "parameters": parameters, "eps": eps, "seed": 3, "key": key}
                        flags = ("transfer-beats-white-box", "made-up-flag") if (s, t, eps) == (1, 1, 0.1) else ()
                        n = 0 if (s, t, eps) == (0, 2, 0.3) else self.n - 10
                        self.rows.append(make_row(dataset, **common, share=share, n=self.n, flags=flags))
                        self.rows.append(
                            make_row(dataset, **common, metric="fooling_rate", share=max(0.0, 1 - share / CLEAN[t % 9]), n=n, flags=flags)
                        )

    def shape(self, dataset):
        return (3, 32, 32) if dataset in ("cifar2", "celeba") else (1, 28, 28) if "mnist" in dataset else (1, 8, 8)

    def images(self, dataset, count):
        channels, size, _ = self.shape(dataset)
        across = np.linspace(-1, 1, size)
        ring = np.clip(1.4 - 2.2 * abs(np.hypot(*np.meshgrid(across, across)) - 0.6), 0, 1)
        return np.clip(ring + 0.1 * self.rng.standard_normal((count, channels, size, size)), 0, 1).astype(np.float32)

    def gallery(self, dataset, number, source, attack, eps):
        clean = self.images(dataset, self.pictures)
        noise = self.rng.standard_normal(clean.shape) if number % 2 else np.sin(4 * clean.cumsum(-1) / clean.shape[-1]) * np.ones_like(clean)
        perturbation = (eps * np.sign(noise)).astype(np.float32)
        file = f"arrays/<script>{self.datasets.index(dataset)}-{number}-{attack}-{eps}.npz"
        np.savez_compressed(self.folder / file, clean=clean, perturbation=perturbation, adversarial=np.clip(clean + perturbation, 0, 1))
        labels = [k % len(CLASSES) for k in range(self.pictures)]
        return {
            "dataset": dataset,
            "source": source,
            "attack": attack,
            "eps": eps,
            "n": self.n,
            "share": 0.31 + 0.05 * number,
            "share_low": 0.29 + 0.05 * number,
            "share_high": 0.33 + 0.05 * number,
            "labels": labels,
            "clean_predictions": labels,
            "adversarial_predictions": [(k + k % 2) % len(CLASSES) for k in labels],
            "arrays": file,
        }

    def one_image(self, dataset, attack):
        file = f"arrays/one-{self.datasets.index(dataset)}-{attack}.npz"
        np.savez_compressed(self.folder / file, image=self.images(dataset, 1)[0])
        tables = {}
        for i, name in enumerate(self.networks):
            lines = [np.exp([2 - 30 * e * (k == 1) + 0.4 * k * e * (i + 9) for k in range(len(CLASSES))]) for e in self.eps]
            tables[name] = [(line / line.sum()).tolist() for line in lines]
        return {"dataset": dataset, "attack": attack, "eps": list(self.eps), "label": 1, "index": 17, "networks": tables, "arrays": file}

    def network(self, dataset, i, name):
        steps = list(range(10, 400, 10))
        low, high = wilson(round(CLEAN[i % 9] * 1000), 1000)
        quantum = "qvc" in name
        return {
            "name": name,
            "dataset": dataset,
            "seed": 0,
            "kind": "quantum" if quantum else "classical",
            "architecture": "10 qubits, 200 layers, 7,800 gates" if quantum else "layers",
            "parameters": 1800 * (i + 1),
            "recipe": "Adam 0.005, cosine, batch 64",
            "recipe_name": "tuned",
            "epochs": 5,
            "train_images": 1437,
            "clean": CLEAN[i % 9],
            "clean_low": low,
            "clean_high": high,
            "clean_n": 1000,
            "seconds": 12.3 * (i + 1) ** 3,
            "key": "ef" * 32,
            "sha256": "0123456789abcdef" * 4,
            "history": {
                "steps": steps,
                "loss": [2.3 * exp(-s / (60 + 40 * i)) + 0.05 * (1 + self.rng.random()) for s in steps],
                "accuracy_steps": steps[::4],
                "accuracy": [CLEAN[i % 9] * (1 - exp(-s / (50 + 20 * i))) for s in steps[::4]],
            },
        }

    def claims(self, ids, missing=()):
        """Verdicts that go round; data sets in ``missing`` have none that was measured."""
        found = []
        for c, (name, text, variants) in enumerate(ids):
            for d, dataset in enumerate(self.datasets):
                for v, variant in enumerate(variants):
                    word = "not measured" if dataset in missing or name.startswith("8") else WORDS[(c + d + (v > 1) * c) % 3]
                    value = None if word == "not measured" else {"holds": 0.31, "fails": 0.1, "undecided": 0.21}[word]
                    condition = {"text": f"accuracy(convnet -> {variant}, pgd, 0.2) - accuracy(convnet -> resnet18, pgd, 0.2) > 0.2", "value": value}
                    condition |= {"low": value and value - 0.06, "high": value and value + 0.06, "n": [self.n] if value else [], "verdict": word}
                    reason = "needs accuracy under <b>autoattack</b>: not measured" if value is None else ""
                    verdict = {"id": name, "text": text, "dataset": dataset, "variant": variant, "verdict": word}
                    found.append(verdict | {"conditions": [condition] if value else [], "paper": "holds", "reason": reason})
        return found

    def about(self, dataset):
        classes = list(CLASSES)
        return {
            "train": 1437,
            "test": 360,
            "shape": list(self.shape(dataset)),
            "classes": classes,
            "majority": 0.1,
            "sources": {f"{dataset}.gz": "ab" * 32},
        }

    def write(self, sections, claims=None, **more):
        results = {
            "study": "made-up",
            "title": "Robustness of <b>digits</b>",
            "note": "Made-up numbers.",
            "preset": "quick",
            "command": "qarmor run made-up --preset quick && echo '<done>'",
            "machine": "a laptop, 2 cores",
            "versions": {"qarmor": "0.1.0", "torch": "2.13.0"},
            "task_seconds": 3512.2,
            "tasks": {"done": 22, "planned": 24, "failed": [{"label": "train <i>resnet</i>", "log": "RuntimeError: out of <memory>"}]},
            "threads": 1,
            "seeds": [0],
            "attacks": {key: {"name": name, "parameters": parameters, "label": label} for key, (name, parameters, label) in self.attacks.items()},
            "datasets": {dataset: self.about(dataset) for dataset in self.datasets},
            "networks": [self.network(dataset, i, name) for dataset in self.datasets for i, name in enumerate(self.networks)],
            "sections": sections,
        }
        (self.folder / "rows.json").write_text(self.rows.to_json())
        (self.folder / "results.json").write_text(json.dumps(results | more))
        if claims is not None:
            (self.folder / "claims.json").write_text(json.dumps(claims))
        return self.folder


IDS = (
    ("1", "white box: at eps .1 (PGD) ConvNet and QVC200 keep less than half of their clean accuracy", VARIANTS),
    ("4", "defence: under ConvNet's PGD at eps .2 QVC200 is at least .2 above <script>ResNet18</script>", VARIANTS),
    ("6.1-fgsm", "claim 1 under FGSM", VARIANTS[:2]),
    ("8.1", "adversarial training moves QVC200 by at most .05", VARIANTS),
)


def make_directory(folder: Path, claims=True, hardware=True, **more) -> Path:
    """A directory with a section of every kind, one partial and one missing; those of hardware, detection and direct attacks if ``hardware``."""
    maker = Maker(folder, **more)
    for d, dataset in enumerate(maker.datasets):
        maker.clean_rows(dataset, f"clean-{d}", 360)
        maker.clean_rows(dataset, f"same-{d}", maker.n)
        maker.transfer_rows(dataset, f"transfer-{d}")
    keys = [f"{what}-{d}" for what in ("same", "transfer") for d in range(len(maker.datasets))]
    every = [f"clean-{d}" for d in range(len(maker.datasets))]
    first, attack = maker.datasets[0], next(iter(maker.attacks))
    common = {"sources": list(maker.sources), "targets": list(maker.networks), "attacks": list(maker.attacks)}
    low, high = wilson(208, 250)
    paper = [
        {"dataset": first, "network": name, "quantity": "accuracy", "value": 0.832, "n": 250, "low": low, "high": high}
        for name in (maker.networks[0], "the <paper>'s own")
    ]
    words = [
        {"dataset": "", "network": "convnet", "quantity": "parameters", "value": "about 10^6", "n": None, "low": None, "high": None},
        {"dataset": first, "network": "qvc<9>", "quantity": "qubits", "value": 12, "n": None, "low": None, "high": None},
    ]
    resources = [
        {"dataset": first, "network": EVIL, "qubits": 10, "layers": 200, "parameters": 6001, "gates": {"RZ": 4000, "<CZ>": 1800}, "depth": 4200},
        {"dataset": first, "network": "convnet", "qubits": None, "layers": 5, "parameters": 1234567, "gates": None, "depth": None},
    ]
    galleries = [maker.gallery(dataset, i, name, attack, 0.1) for dataset in maker.datasets for i, name in enumerate(maker.networks)]
    sections = [
        maker.section("fig2", "transfer", item="Fig 2, S5", title="Accuracy against eps", note="We chose <b>250</b> images.", keys=keys, **common),
        maker.section("figS3", "clean", item="Fig S3", title="Clean accuracy", paper=paper, keys=every, **common),
        maker.section("figS2", "training", item="Fig S2", networks=list(maker.networks)),
        maker.section("table1", "resources", item="Table I", paper=words, entries=resources),
        maker.section(EVIL_SECTION, "perturbations", item="Fig <3>", status="partial", entries=galleries, paper=words[:1]),
        maker.section("fig1", "probabilities", item="Fig 1 e,f", entries=[maker.one_image(first, attack)]),
        maker.section("fig4", "missing", item="Fig 4 a-d", status="missing", reason="adversarial training comes with <part> 4"),
        maker.section("figS12", "transfer", item="Fig S12", status="missing", reason="not run"),
    ]
    if hardware:
        sections += hardware_sections(maker, keys)
    return maker.write(sections, maker.claims(IDS, missing=maker.datasets[1:]) if claims else None)


def hardware_sections(maker: Maker, keys) -> list[dict]:
    first, names, attack = maker.datasets[0], maker.networks, next(iter(maker.attacks))
    direct = {"targets": list(names), "attacks": list(maker.attacks), "keys": keys, "item": "ours"}
    pairs = [(names[1], names[0]), (names[1], names[-1])][: len(names) - 1]
    words = [{"dataset": first, "network": "", "quantity": "detected <all>", "value": "most", "n": None, "low": None, "high": None}]
    return [
        maker.section("figS14", "noise", item="Fig S14", entries=made.noise([first], names[:1], [attack])),
        maker.section("seeds", "repeats", item="Fig 2", entries=made.repeats([first], names[:3], list(maker.attacks)[:1])),
        maker.section("shots", "shots", item="ours", entries=made.finite_shots([first], names[:3])),
        maker.section("certificates", "certificates", item="ours", entries=made.certificates([first], names[:2], attack)),
        maker.section("fig5", "detection", item="Fig 5", entries=made.detection([first], pairs), paper=words),
        maker.section("frontier", "frontier", **direct),
        maker.section("direct", "white-box", **direct),
    ]


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
    """As ``results``, with one data set, two networks and one attack, which is quickly drawn; without claims."""
    common = {"claims": False, "hardware": False, "attacks": {"pgd": ATTACKS["pgd"]}}
    return make_directory(tmp_path / "small", datasets=(EVIL_SET,), networks=NETWORKS[:2], **common)


@pytest.fixture
def hard(tmp_path) -> Path:
    """Sections about hardware, detection and direct attacks alone, on one data set."""
    maker = Maker(tmp_path / "hard", datasets=(EVIL_SET,), networks=NETWORKS[:2], attacks={"pgd": ATTACKS["pgd"]}, eps=(0.0, 0.1))
    maker.clean_rows(EVIL_SET, "same", maker.n)
    maker.transfer_rows(EVIL_SET, "direct")
    return maker.write(hardware_sections(maker, ["same", "direct"]))
