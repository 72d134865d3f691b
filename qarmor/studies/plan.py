"""From a study to tasks: what has to be made for each data set, section by section."""

from __future__ import annotations

from typing import Any

from qarmor.studies import costs, sections
from qarmor.studies.choice import balanced
from qarmor.studies.planner import Planner, with_seed
from qarmor.studies.spec import Study
from qarmor.studies.task import Plan


def make(study: Study, dataset: str, name: str = "study") -> Plan:
    """All tasks of a data set of a resolved study.

    Raises:
        SpecError: a network or an attack that cannot be, with the key's path.
        ValueError, OSError: the data set cannot be read.
    """
    planner = Planner(study, dataset, name)
    for label, section in study.sections.items():
        if dataset in datasets_of(study, section):
            _section(planner, label, section)
    return planner.plan


def datasets_of(study: Study, section: sections.Section) -> list[str]:
    """Names of the data sets of a section, in the study's order."""
    return [d for d in study.datasets if section.datasets is None or d in section.datasets]


_ONCE = (sections.Repeats, sections.Probabilities, sections.Gallery, sections.Overview)
"""Kinds that are made once, with the study's first seed or with seeds of their own."""


def _section(planner: Planner, name: str, section: sections.Section) -> None:
    for seed in planner.study.seeds[:1] if isinstance(section, _ONCE) else planner.study.seeds:
        match section:
            case sections.Transfer():
                _transfer(planner, name, section, seed)
            case sections.Repeats():
                _repeats(planner, name, section)
            case sections.WhiteBox():
                _white_box(planner, name, section, seed)
            case sections.Clean():
                for network in planner.here(section.networks):
                    planner.clean(network, planner.images(section.images), seed, name)
            case sections.Training():
                for network in planner.here(section.networks):
                    planner.network(network, seed, name)
            case sections.Resources():
                _built(planner, name, "resources", section.networks)
            case sections.Perturbations():
                _perturbations(planner, name, section, seed)
            case sections.Probabilities():
                _probabilities(planner, name, section, seed)
            case sections.Gallery():
                _gallery(planner, name, section, seed)
            case sections.Noisy():
                _noise(planner, name, section, seed)
            case sections.FiniteShots():
                for network in planner.here(section.networks):
                    _shots(planner, name, network, section.shots, planner.images(section.images), seed)
            case sections.Certificates():
                _certificates(planner, name, section, seed)
            case sections.Detection():
                _detection(planner, name, section, seed)
            case sections.Frontier():
                _white_box(planner, name, section, seed)
            case sections.Overview():
                _overview(planner, name, section, seed)
            case sections.Missing():
                pass


def _transfer(planner: Planner, name: str, section: sections.Transfer | sections.Repeats, seed: int) -> None:
    images = planner.images(section.images)
    targets = list(planner.here(section.targets))
    for target in targets:
        planner.clean(target, images, seed, name)
    for source in planner.here(section.sources):
        for attack in section.attacks:
            for eps in planner.study.grid(section.eps):
                crafted = planner.craft(source, attack, eps, images, seed, name)
                for target in targets:
                    planner.score(crafted, source, target, images, seed, name)


def _repeats(planner: Planner, name: str, section: sections.Repeats) -> None:
    """The transfer under each seed, and clean accuracies on more images, which claims want."""
    for seed in section.seeds:
        _transfer(planner, name, section, seed)
        for target in planner.here(section.targets):
            planner.clean(target, planner.images(section.clean), seed, name)


def _white_box(planner: Planner, name: str, section: sections.WhiteBox | sections.Frontier, seed: int) -> None:
    for network in planner.here(section.networks):
        _directly(planner, name, section, network, seed)


def _directly(planner: Planner, name: str, section: sections.WhiteBox | sections.Frontier | sections.Noisy, network: str, seed: int) -> None:
    """One network under the section's attacks on itself; judging it brings its clean images along."""
    images = planner.images(section.images)
    for attack in section.attacks:
        for eps in planner.study.grid(section.eps):
            planner.score(planner.craft(network, attack, eps, images, seed, name), network, network, images, seed, name)


def _perturbations(planner: Planner, name: str, section: sections.Perturbations, seed: int) -> None:
    if len(planner.data.shape) != 3:
        return
    for source in planner.here(section.sources):
        for attack in section.attacks:
            crafted = planner.craft(source, attack, section.eps, planner.images(section.images), seed, name)
            label = f"perturbations of {with_seed(source, seed)}, {attack}"
            task = planner.task("perturbations", label, {"shown": section.shown}, {"adversarials": crafted.key}, seconds=0.2)
            planner.plan.add(task, name, f"{attack}|{with_seed(source, seed)}")


def _probabilities(planner: Planner, name: str, section: sections.Probabilities, seed: int) -> None:
    networks = list(planner.here(section.networks))
    if not networks:
        return
    inputs = {network: planner.network(network, seed, name).key for network in networks}
    grid = [float(eps) for eps in planner.study.grid(section.eps)]
    fields = {
        "data": planner.digest,
        "images": planner.images(section.images),
        "attack": planner.attack_spec(section.attack),
        "eps": grid,
        "seed": seed,
    }
    passes = costs.passes(planner.built[section.attack].parameters) * len(grid)
    seconds = sum(costs.attack_seconds(planner.structure(n, seed), planner.data.shape, 4) for n in networks) * passes
    code = planner.code_of_attack(section.attack)
    task = planner.task("probabilities", f"class probabilities under {section.attack}", fields, inputs, seconds=seconds, code=code)
    planner.plan.add(task, name, section.attack)


def _overview(planner: Planner, name: str, section: sections.Overview, seed: int) -> None:
    _built(planner, name, "architecture", section.networks)
    if len(planner.data.shape) == 3 and list(planner.here([section.source])):
        crafted = planner.craft(section.source, section.attack, section.eps, planner.images(section.images), seed, name)
        label = f"pictures of {section.attack} on {with_seed(section.source, seed)}"
        task = planner.task("pictures", label, {"shown": section.shown}, {"adversarials": crafted.key}, seconds=0.2)
        planner.plan.add(task, name)


def _gallery(planner: Planner, name: str, section: sections.Gallery, seed: int) -> None:
    """A task a source and attack, of the study's first seed; all show the same images."""
    networks = list(planner.here(section.networks))
    if not networks:
        return
    parts: list[sections.Gallery | sections.Attempts] = [section, *section.also]
    shown = balanced(planner.data, [planner.images(part.images) for part in parts], section.shown, planner.study.image_seed)
    made = {f"network-{number}": planner.network(network, seed, name).key for number, network in enumerate(networks)}
    memory = max(costs.memory(planner.structure(network, seed), planner.data) for network in networks)
    for part in parts:
        grid = [float(eps) for eps in planner.study.grid(part.eps) if eps]
        looks = len(shown) * (1 + len(grid))
        seconds = sum(costs.forward_seconds(planner.structure(network, seed), planner.data.shape, looks) for network in networks)
        for source in planner.here(section.sources) if grid else ():
            for attack in part.attacks:
                crafted = [planner.craft(source, attack, eps, planner.images(part.images), seed, name).key for eps in grid]
                inputs = {f"adversarials-{number}": key for number, key in enumerate(crafted)} | made
                names = [with_seed(network, seed) for network in networks]
                fields = {"data": planner.digest, "index": shown, "eps": grid, "networks": names}
                label = f"gallery of {attack} on {with_seed(source, seed)}"
                task = planner.task("gallery", label, fields, inputs, seconds=seconds, memory=memory)
                planner.plan.add(task, name, f"{attack}|{with_seed(source, seed)}")


def _built(planner: Planner, name: str, kind: str, networks: list[str]) -> None:
    """What is read off networks that need no training; ready-made ones are left out."""
    for label in planner.here(networks):
        if planner.study.networks[label].model is None:
            network, options = planner.constructor(label)
            fields = {"network": network, "options": options, "shape": list(planner.data.shape), "classes": list(planner.data.classes)}
            task = planner.task(kind, f"{kind} of {label}", fields, {}, seconds=0.1, code=planner.code_of_network(label, 0))
            planner.plan.add(task, name, label)


def _noise(planner: Planner, name: str, section: sections.Noisy, seed: int) -> None:
    images = planner.images(section.images)
    kinds = planner.study.noise[section.noise] if isinstance(section.noise, str) else section.noise
    for network in planner.here(section.networks):
        settings = [{"kind": one.kind, "rate": rate, "where": one.where} for one in kinds for rate in one.rates]
        for label in [network, *(planner.noise(network, setting) for setting in settings)]:
            planner.clean(label, planner.images(None), seed, name)
            _shots(planner, name, label, [], images, seed)
            _directly(planner, name, section, label, seed)


def _shots(planner: Planner, name: str, label: str, shots: list[int], images: dict[str, Any], seed: int) -> None:
    made, shown = planner.network(label, seed, name), with_seed(label, seed)
    fields = {"data": planner.digest, "images": images, "target": shown, "shots": shots, "share": 0.95, "seed": seed}
    seconds = 30 * costs.forward_seconds(planner.structure(label, seed), planner.data.shape, planner.size(images))
    task = planner.task("shots", f"{shown} with finite shots", fields, {"network": made.key}, seconds=seconds)
    planner.plan.add(task, name, shown)


def _certificates(planner: Planner, name: str, section: sections.Certificates, seed: int) -> None:
    images = planner.images(section.images)
    grid = [float(eps) for eps in planner.study.grid(section.eps)]
    for label in planner.here(section.networks):
        made, shown = planner.network(label, seed, name), with_seed(label, seed)
        fields = {"data": planner.digest, "images": images, "target": shown, "attack": planner.attack_spec(section.attack), "eps": grid, "seed": seed}
        seconds = 20 + 13 * costs.attack_seconds(planner.structure(label, seed), planner.data.shape, planner.size(images)) * costs.passes(
            planner.built[section.attack].parameters
        )
        code = planner.code_of_attack(section.attack)
        task = planner.task("certify", f"certificates of {shown}", fields, {"network": made.key}, seconds=seconds, code=code)
        planner.plan.add(task, name, f"{section.attack}|{shown}")


def _detection(planner: Planner, name: str, section: sections.Detection, seed: int) -> None:
    n = planner.study.count(section.images)
    n = min(len(planner.data.test) // 3, n or len(planner.data.test))
    for first, second in section.pairs:
        if len(list(planner.here([first, second]))) < 2:
            continue
        inputs = {which: planner.network(label, seed, name).key for which, label in (("first", first), ("second", second))}
        fields = {
            "data": planner.digest,
            "n": n,
            "image_seed": planner.study.image_seed,
            "first": with_seed(first, seed),
            "second": with_seed(second, seed),
            "attacks": {attack: planner.attack_spec(attack) for attack in section.attacks},
            "adaptive": {attack: planner.attack_spec(attack) for attack in section.adaptive},
            "eps": section.eps,
            "false_positive_rate": section.false_positive_rate,
            "seed": seed,
        }
        everything = [*section.attacks, *section.adaptive]
        passes = sum(costs.passes(planner.built[attack].parameters) for attack in everything) / len(section.attacks)
        seconds = passes * sum(costs.attack_seconds(planner.structure(label, seed), planner.data.shape, n) for label in (first, second))
        code = {module for attack in everything for module in planner.code_of_attack(attack)}
        task = planner.task("detect", f"detection by {first} and {second}", fields, inputs, seconds=seconds, code=code)
        planner.plan.add(task, name, f"{first}|{second}")
