"""A study as TOML: what is trained, attacked and shown. Parsed strictly; every error names the key's path."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from qarmor.studies.sections import (
    Certificates,
    Count,
    Detection,
    Eps,
    Gallery,
    Name,
    Names,
    NoiseSpec,
    Noisy,
    Overview,
    Part,
    Probabilities,
    Repeats,
    Section,
    Seed,
)

_CLAIMS = "claims.toml"  # lies beside the studies and is none
PRESETS = ("smoke", "quick", "full")


class SpecError(ValueError):
    """A study that cannot be; the message gives the file, the path of the key, what came and what to do."""


class DatasetSpec(Part):
    """A data set. ``source``: a name, the path of an .npz file or ``package.module:factory``; by default the name that it has in the study."""

    source: str | None = None


class AttackSpec(Part):
    """An attack. ``attack``: a name or ``package.module:factory``; all other keys are its hyperparameters."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    attack: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Its hyperparameters."""
        return dict(self.model_extra or {})


class AdversarialSpec(Part):
    """Adversarial training: the name of an attack of the study, radius, and part of each batch."""

    attack: Name
    eps: Eps
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.5


class NetworkSpec(Part):
    """A network: trained (``network``, with a recipe and what differs from it), or ready-made (``model``: a file or ``package.module:factory``).

    ``epochs`` may be a table by data set, with ``default`` for the others. ``datasets`` restricts it to some.
    """

    network: str | None = None
    model: str | None = None
    recipe: str | None = None
    epochs: Count | dict[str, Count] | None = None
    batch_size: Count | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    schedule: Literal["constant", "cosine"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    adversarial: AdversarialSpec | None = None
    datasets: Names | None = None

    def epochs_on(self, dataset: str) -> int | None:
        """Epochs on a data set; None where the recipe decides."""
        return self.epochs.get(dataset, self.epochs.get("default")) if isinstance(self.epochs, dict) else self.epochs


class Preset(Part):
    """What a preset fixes: epochs (for all networks, or by network, there for all data sets or by data set), training images at most, and tables.

    ``attacks`` changes hyperparameters of attacks.
    ``without`` names networks that it leaves out of every section. ``repeats`` are the seeds of every section of that kind.
    """

    epochs: Count | dict[str, Count | dict[str, Count]] | None = None
    train: Count | None = None
    images: dict[str, Count] = Field(default_factory=dict)
    eps: dict[str, list[Eps]] = Field(default_factory=dict)
    noise: dict[str, list[NoiseSpec]] = Field(default_factory=dict)
    attacks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: list[Seed] | None = None
    repeats: list[Seed] | None = None
    without: list[Name] = Field(default_factory=list)


class Cluster(Part):
    """Workers of a cluster, through dask-jobqueue; ``options`` go to its class as they are."""

    kind: Literal["slurm", "pbs", "sge", "lsf", "htcondor", "oar", "moab"]
    workers: Count
    options: dict[str, Any] = Field(default_factory=dict)


class Study(Part):
    """A whole study, as it stands in the file."""

    title: str
    note: str = ""
    threads: Count = 1
    device: str = "cpu"
    seeds: list[Seed] = Field(default=[0], min_length=1)
    image_seed: Seed = 0
    train: Count | None = None
    images: dict[str, Count] = Field(default_factory=dict)
    eps: dict[str, list[Eps]] = Field(default_factory=dict)
    noise: dict[str, list[NoiseSpec]] = Field(default_factory=dict)
    claims: bool = False
    datasets: dict[Name, DatasetSpec] = Field(min_length=1)
    networks: dict[Name, NetworkSpec] = Field(default_factory=dict)
    attacks: dict[Name, AttackSpec] = Field(default_factory=dict)
    sections: dict[Name, Section] = Field(min_length=1)
    presets: dict[Literal["smoke", "quick", "full"], Preset] = Field(default_factory=dict)
    cluster: Cluster | None = None

    def grid(self, eps: str | list[float]) -> list[float]:
        """The values of a grid that is given by name or by value."""
        return self.eps[eps] if isinstance(eps, str) else eps

    def count(self, images: str | int | None) -> int | None:
        """The number of images that is given by name or by value; None for all."""
        return self.images[images] if isinstance(images, str) else images


def declared() -> tuple[str, ...]:
    """Names of the studies that come with QArmor."""
    files = resources.files("qarmor.studies").iterdir()
    return tuple(sorted(p.name.removesuffix(".toml") for p in files if p.name.endswith(".toml") and p.name != _CLAIMS))


def read(study: str) -> Study:
    """A study by name (``declared()``) or from a TOML file.

    Raises:
        FileNotFoundError: neither a name nor a file.
        SpecError: not TOML, or not a study that can be.
    """
    path = Path(study)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpecError(f"{study}: not UTF-8 text ({error})") from error
        return parse(text, study)
    if study in declared():
        return parse(resources.files("qarmor.studies").joinpath(f"{study}.toml").read_text(encoding="utf-8"), study)
    raise FileNotFoundError(f"no study {study!r}: neither a file nor one of {', '.join(declared())}")


def parse(text: str, name: str = "study") -> Study:
    """A study from TOML text; ``name`` stands in messages. Raises SpecError."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{name}: not TOML: {error}") from error
    return from_mapping(value, name)


def from_mapping(value: Mapping[str, Any], name: str = "study") -> Study:
    """A study from parsed TOML. Raises SpecError."""
    try:
        study = Study.model_validate(value)
    except ValidationError as error:
        raise SpecError(f"{name}: {_in_words(error, value)}") from error
    for path, problem in _dangling(study):
        raise SpecError(f"{name}: {path}: {problem}")
    return study


def _in_words(error: ValidationError, value: Mapping[str, Any]) -> str:
    problems: dict[str, list[Any]] = {}
    for one in error.errors(include_url=False):
        problems.setdefault(_path(one, value), []).append(one)
    # of a value that may be of several types, what is wrong with it as the type that it has
    problems = {path: here for path, here in problems.items() if not any(other.startswith(f"{path}.") for other in problems)}
    path, here = next(iter(problems.items()))
    here = [one for one in here if not one["type"].endswith("_type")][:1] or here
    if here[0]["type"] == "extra_forbidden":
        said = "unknown key; remove it or look for a misspelling"
    elif here[0]["type"] == "missing":
        said = "is missing"
    else:
        got = here[0]["input"]
        said = here[0]["msg"][0].lower() + here[0]["msg"][1:] + "".join(" or " + one["msg"].removeprefix("Input should be ") for one in here[1:])
        said += "" if isinstance(got, dict | list) else f", got {got!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{path}: {said}{more}"


def _path(problem: Any, value: Any) -> str:
    """The path of a key as the user wrote it: pydantic's has names of types in it, too."""
    parts = []
    for number, part in enumerate(problem["loc"]):
        if (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]
        elif problem["type"] != "missing" or number + 1 < len(problem["loc"]):
            continue
        parts.append(str(part))
    return ".".join(parts)


Problem = tuple[str, str]
"""The path of a key, and what is wrong with it."""


def _dangling(study: Study) -> list[Problem]:
    """Names that name nothing; and other impossible combinations that need no data."""
    found = [problem for name, network in study.networks.items() for problem in _in_network(study, f"networks.{name}", network)]
    found += _twice("seeds", study.seeds)
    found += [problem for name, preset in study.presets.items() for problem in _in_preset(study, f"presets.{name}", preset)]
    return found + [problem for name, section in study.sections.items() for problem in _in_section(study, f"sections.{name}", section)]


def _unknown(path: str, names: Iterable[str] | None, table: Mapping[str, object], what: str) -> list[Problem]:
    known = ", ".join(map(str, table)) or "none"
    return [(path, f"there is no {what} {name!r}; there are {known}") for name in names or () if name not in table]


def _in_network(study: Study, path: str, network: NetworkSpec) -> list[Problem]:
    found = _unknown(f"{path}.datasets", network.datasets, study.datasets, "data set")
    if isinstance(network.epochs, dict):
        found += _unknown(f"{path}.epochs", [d for d in network.epochs if d != "default"], study.datasets, "data set")
    if network.adversarial is not None:
        found += _unknown(f"{path}.adversarial.attack", [network.adversarial.attack], study.attacks, "attack")
    trained = [k for k in ("network", "recipe", "epochs", "batch_size", "lr", "schedule", "adversarial") if getattr(network, k) is not None]
    if network.model is not None and (trained or network.options):
        found.append((f"{path}.model", f"a ready-made network is not trained; remove {(trained or ['options'])[0]!r} or model"))
    return found


def _in_preset(study: Study, path: str, preset: Preset) -> list[Problem]:
    found = _unknown(f"{path}.images", preset.images, study.images, "number of images")
    found += _unknown(f"{path}.eps", preset.eps, study.eps, "eps grid")
    found += _unknown(f"{path}.attacks", preset.attacks, study.attacks, "attack")
    found += _unknown(f"{path}.noise", preset.noise, study.noise, "table of noise")
    found += _unknown(f"{path}.without", preset.without, study.networks, "network")
    if isinstance(preset.epochs, dict):
        found += _unknown(f"{path}.epochs", preset.epochs, study.networks, "network")
        for name, value in preset.epochs.items():
            if isinstance(value, dict):
                found += _unknown(f"{path}.epochs.{name}", [d for d in value if d != "default"], study.datasets, "data set")
    for key, seeds, least in (("seeds", preset.seeds, "one seed"), ("repeats", preset.repeats, "two seeds")):
        few = seeds is not None and len(seeds) < (1 if key == "seeds" else 2)
        found += [(f"{path}.{key}", f"needs {least} or more, got {seeds}")] if few else _twice(f"{path}.{key}", seeds or [])
    return found


def _in_section(study: Study, path: str, section: Section) -> list[Problem]:
    found = _unknown(f"{path}.datasets", section.datasets, study.datasets, "data set")
    for key in ("sources", "targets", "networks"):
        found += _unknown(f"{path}.{key}", getattr(section, key, None), study.networks, "network")
    found += _unknown(f"{path}.attacks", getattr(section, "attacks", None), study.attacks, "attack")
    match section:
        case Repeats():
            found += _twice(f"{path}.seeds", section.seeds)
            if isinstance(section.clean, str):
                found += _unknown(f"{path}.clean", [section.clean], study.images, "number of images")
        case Noisy() if isinstance(section.noise, str):
            found += _unknown(f"{path}.noise", [section.noise], study.noise, "table of noise")
        case Detection():
            found += _unknown(f"{path}.adaptive", section.adaptive, study.attacks, "attack")
            for pair in section.pairs:
                found += _unknown(f"{path}.pairs", pair, study.networks, "network")
                found += [(f"{path}.pairs", f"a network with itself never disagrees, got {pair}")] if pair[0] == pair[1] else []
        case Overview():
            found += _unknown(f"{path}.source", [section.source], study.networks, "network")
            found += _unknown(f"{path}.attack", [section.attack], study.attacks, "attack")
        case Probabilities() | Certificates():
            found += _unknown(f"{path}.attack", [section.attack], study.attacks, "attack")
        case Gallery():
            for number, more in enumerate(section.also):
                found += _unknown(f"{path}.also.{number}.attacks", more.attacks, study.attacks, "attack")
                found += _tables(study, f"{path}.also.{number}", more)
            every = [*section.attacks, *(attack for more in section.also for attack in more.attacks)]
            found += [(f"{path}.attacks", f"has an attack twice, got {every}")] if len(set(every)) < len(every) else []
    return found + _tables(study, path, section)


def _twice(path: str, seeds: list[int]) -> list[Problem]:
    return [(path, f"has a seed twice, got {seeds}")] if len(set(seeds)) < len(seeds) else []


def _tables(study: Study, path: str, section: Any) -> list[Problem]:
    """What is wrong with a section's eps and images."""
    found = []
    eps, images = getattr(section, "eps", None), getattr(section, "images", None)
    versions = {"": study.eps, **{f"presets.{label}.": preset.eps for label, preset in study.presets.items()}}
    if isinstance(eps, str) and eps not in study.eps:
        found.append((f"{path}.eps", f"there is no table eps.{eps}; there are {', '.join(study.eps) or 'none'}"))
    if isinstance(images, str) and images not in study.images:
        found.append((f"{path}.images", f"there is no images.{images}; there are {', '.join(study.images) or 'none'}"))
    grids = {f"{where}eps.{eps}": table.get(eps) for where, table in versions.items()} if isinstance(eps, str) else {f"{path}.eps": eps}
    for name, values in grids.items():
        if values == []:
            found.append((name, "is empty; give one value or more"))
        elif isinstance(values, list) and (sorted(set(values)) != values or not all(map(math.isfinite, values))):
            found.append((name, f"must rise strictly, got {values}"))
    return found
