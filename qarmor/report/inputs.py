"""The files of a results directory, read and checked: with ``parts``, the only place where the report touches its inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qarmor.report.hardware import Noisy
from qarmor.report.parts import Section, read_section
from qarmor.report.reader import Reader, bad, read_json, read_text
from qarmor.types import Row, Rows

CLASSIFIES = ("accuracy", "fooling_rate")
"""Metrics of rows whose source and target are networks; those of others are detectors, certificates or counts of shots."""

VERDICTS = ("holds", "fails", "undecided", "not measured")


@dataclass(frozen=True)
class AttackInfo:
    """An attack of the study: ``study_name`` is what sections call it, ``name`` and ``parameters`` are what rows carry."""

    study_name: str
    name: str
    parameters: Mapping[str, Any]
    label: str


@dataclass(frozen=True)
class DatasetInfo:
    """A data set; None or ``()`` where the results don't say."""

    name: str
    train: int | None
    test: int | None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    majority: float | None
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Curve:
    """Training of one network: loss at ``steps``, accuracy at ``accuracy_steps``."""

    steps: tuple[float, ...]
    loss: tuple[float, ...]
    accuracy_steps: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Network:
    """A trained network; None or ``""`` where the results don't say."""

    name: str
    dataset: str
    seed: int | None
    kind: str
    architecture: str
    parameters: int | None
    recipe: str
    recipe_name: str
    epochs: int | None
    train_images: int | None
    clean: float | None
    clean_low: float | None
    clean_high: float | None
    clean_n: int | None
    seconds: float | None
    key: str
    sha256: str
    history: Curve | None


@dataclass(frozen=True)
class Condition:
    """One condition of a claim, with what was measured of it."""

    text: str
    value: float | None
    low: float | None
    high: float | None
    n: tuple[int, ...]
    verdict: str
    note: str
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of one claim on one data set in one variant."""

    id: str
    text: str
    dataset: str
    variant: str
    verdict: str
    conditions: tuple[Condition, ...]
    paper: str
    reason: str
    note: str


@dataclass(frozen=True)
class Failure:
    """A task that failed, and the first line of its error."""

    label: str
    log: str


@dataclass(frozen=True, eq=False)
class Results:
    """A results directory. ``claims`` is empty where there is no ``claims.json``."""

    directory: Path
    rows: Rows
    study: str
    title: str
    note: str
    preset: str
    command: str
    machine: str
    versions: Mapping[str, str]
    task_seconds: float | None
    done: int | None
    planned: int | None
    failed: tuple[Failure, ...]
    threads: int | None
    seeds: tuple[int, ...]
    attacks: Mapping[str, AttackInfo]
    datasets: Mapping[str, DatasetInfo]
    networks: tuple[Network, ...]
    sections: tuple[Section, ...]
    claims: tuple[Verdict, ...]

    @cached_property
    def dataset_names(self) -> tuple[str, ...]:
        """Every data set that something is about, those of the study first."""
        rows = (dataset_of(row) for row in self.rows)
        return tuple(dict.fromkeys([*self.datasets, *(network.dataset for network in self.networks), *rows, *(c.dataset for c in self.claims)]))

    @cached_property
    def noisy(self) -> frozenset[str]:
        """Names of networks that are another one under noise."""
        bodies = (section.body for section in self.sections)
        return frozenset(entry.label for body in bodies if isinstance(body, Noisy) for entry in body.entries if entry.noise is not None)

    @cached_property
    def network_names(self) -> tuple[str, ...]:
        """Every network, those of the study first, then others that rows call right or wrong; those under noise come last."""
        rows = (name for row in self.rows if row.metric in CLASSIFIES for name in (row.source, row.target) if name)
        return tuple(sorted(dict.fromkeys([*(network.name for network in self.networks), *rows]), key=lambda name: name in self.noisy))

    @cached_property
    def by_key(self) -> Mapping[str, list[Row]]:
        """The rows by the key of the task that made them."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.key, []).append(row)
        return found

    def quantum(self, name: str) -> bool:
        """Whether a network of this name is described as quantum."""
        return any(network.name == name and network.kind == "quantum" for network in self.networks)

    def majority(self, dataset: str) -> float | None:
        """Accuracy of always naming the commonest class of the test images; None where it isn't recorded."""
        return self.datasets[dataset].majority if dataset in self.datasets else None

    def attack_label(self, name: str) -> str:
        """What people call the study's attack ``name``."""
        return self.attacks[name].label if name in self.attacks else name


def dataset_of(row: Row) -> str:
    """The data set of a row, without the part: ``"mnist"`` for ``"mnist/test"``."""
    return row.dataset.removesuffix("/test")


def base_name(network: str) -> str:
    """The network's name without its seed: ``"qvc200"`` for ``"qvc200 (seed 1)"``."""
    return re.sub(r" \(seed \d+\)$", "", network)


def load_directory(directory: Path) -> Results:
    """Reads and checks ``rows.json``, ``results.json`` and ``claims.json``, which may be missing, and the arrays that they name.

    Raises:
        FileNotFoundError: the directory or a file that must be there is missing.
        ValueError: a file is there and isn't what it should be.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"report: {directory} is not a directory; give the folder that `qarmor run STUDY --out` wrote")
    path = directory / "results.json"
    file = Reader(path, read_json(path))
    tasks = Reader(path, file.mapping("tasks"), "tasks")
    datasets = {name: _dataset(name, about) for name, about in file.named("datasets").items()}
    attacks = {name: _attack(name, about) for name, about in file.named("attacks").items()}
    return Results(
        directory=directory,
        rows=_rows(directory / "rows.json"),
        study=file.name("study"),
        title=file.name("title"),
        note=file.text("note"),
        preset=file.text("preset"),
        command=file.text("command"),
        machine=file.text("machine"),
        versions={name: str(version) for name, version in file.mapping("versions").items()},
        task_seconds=file.number("task_seconds"),
        done=tasks.count("done"),
        planned=tasks.count("planned"),
        failed=tuple(Failure(about.text("label"), about.text("log")) for about in tasks.each("failed")),
        threads=file.count("threads"),
        seeds=file.integers("seeds"),
        attacks=attacks,
        datasets=datasets,
        networks=tuple(_network(about) for about in file.each("networks")),
        sections=tuple(read_section(about, directory, {name: about.classes for name, about in datasets.items()}) for about in file.each("sections")),
        claims=_claims(directory / "claims.json"),
    )


def _rows(path: Path) -> Rows:
    text = read_text(path)
    try:
        rows = Rows.from_json(text)
        for row in rows:
            _check_row(row)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise bad(path, str(error)) from error
    return rows


def _check_row(row: Row) -> None:
    for field in ("value", "low", "high", "successes", "n", "seed"):
        _numeric(field, getattr(row, field))
    for field in ("eps", "majority"):
        if getattr(row, field) is not None:
            _numeric(field, getattr(row, field))
    for field in ("dataset", "source", "target", "attack", "metric", "key", "version"):
        if not isinstance(value := getattr(row, field), str):
            raise ValueError(f"{field} of a row should be text, got {type(value).__name__}")
    json.dumps(dict(row.parameters))


def _numeric(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{field} of a row should be a number, got {type(value).__name__}")


def _attack(study_name: str, about: Reader) -> AttackInfo:
    return AttackInfo(study_name, about.name("name"), about.mapping("parameters"), about.text("label") or study_name)


def _dataset(name: str, about: Reader) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        train=about.count("train"),
        test=about.count("test"),
        shape=about.integers("shape"),
        classes=about.texts("classes"),
        majority=about.number("majority"),
        sources={file: str(sha) for file, sha in about.mapping("sources").items()},
    )


def _network(about: Reader) -> Network:
    return Network(
        name=about.name("name"),
        dataset=about.name("dataset"),
        seed=about.count("seed"),
        kind=about.text("kind"),
        architecture=about.text("architecture"),
        parameters=about.count("parameters"),
        recipe=about.text("recipe"),
        recipe_name=about.text("recipe_name"),
        epochs=about.count("epochs"),
        train_images=about.count("train_images"),
        clean=about.number("clean"),
        clean_low=about.number("clean_low"),
        clean_high=about.number("clean_high"),
        clean_n=about.count("clean_n"),
        seconds=about.number("seconds"),
        key=about.text("key"),
        sha256=about.text("sha256"),
        history=_curve(about.below("history")) if about.mapping("history") else None,
    )


def _curve(about: Reader) -> Curve:
    curve = Curve(about.numbers("steps"), about.numbers("loss"), about.numbers("accuracy_steps"), about.numbers("accuracy"))
    sizes = tuple(len(part) for part in (curve.steps, curve.loss, curve.accuracy_steps, curve.accuracy))
    if sizes[0] != sizes[1] or sizes[2] != sizes[3]:
        raise bad(about.path, f"{about.where}: {sizes[0]} steps for {sizes[1]} losses, {sizes[2]} for {sizes[3]} accuracies")
    return curve


def _claims(path: Path) -> tuple[Verdict, ...]:
    if not path.exists():
        return ()
    file = Reader(path, {"claims": read_json(path)})
    return tuple(_verdict(about) for about in file.each("claims"))


def _verdict(about: Reader) -> Verdict:
    conditions = tuple(_condition(one) for one in about.each("conditions"))
    paper = about.text("paper")
    return Verdict(
        id=about.name("id"),
        text=about.text("text"),
        dataset=about.name("dataset"),
        variant=about.name("variant"),
        verdict=_word(about),
        conditions=conditions,
        paper=paper,
        reason=about.text("reason"),
        note=about.text("note"),
    )


def _condition(about: Reader) -> Condition:
    return Condition(
        text=about.text("text"),
        value=about.number("value"),
        low=about.number("low"),
        high=about.number("high"),
        n=about.integers("n"),
        verdict=_word(about),
        note=about.text("note"),
        seeds=about.integers("seeds"),
    )


def _word(about: Reader) -> str:
    word = about.text("verdict")
    if word not in VERDICTS:
        raise bad(about.path, f"{about.place('verdict')} should be one of {', '.join(VERDICTS)}, got {word!r}")
    return word
