"""From a study to tasks: what has to be made for each data set, section by section."""

from __future__ import annotations

from qarmor.studies import costs, spec
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


def datasets_of(study: Study, section: spec.Section) -> list[str]:
    """Names of the data sets of a section, in the study's order."""
    return [d for d in study.datasets if section.datasets is None or d in section.datasets]


def _section(planner: Planner, name: str, section: spec.Section) -> None:
    for seed in planner.study.seeds:
        match section:
            case spec.Transfer():
                _transfer(planner, name, section, seed)
            case spec.WhiteBox():
                _white_box(planner, name, section, seed)
            case spec.Clean():
                for network in planner.here(section.networks):
                    planner.clean(network, planner.images(section.images), seed, name)
            case spec.Training():
                for network in planner.here(section.networks):
                    planner.network(network, seed, name)
            case spec.Resources():
                _resources(planner, name, section)
            case spec.Perturbations():
                _perturbations(planner, name, section, seed)
            case spec.Probabilities():
                _probabilities(planner, name, section, seed)
            case spec.Missing():
                pass


def _transfer(planner: Planner, name: str, section: spec.Transfer, seed: int) -> None:
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


def _white_box(planner: Planner, name: str, section: spec.WhiteBox, seed: int) -> None:
    images = planner.images(section.images)
    for network in planner.here(section.networks):
        planner.clean(network, images, seed, name)
        for attack in section.attacks:
            for eps in planner.study.grid(section.eps):
                planner.score(planner.craft(network, attack, eps, images, seed, name), network, network, images, seed, name)


def _perturbations(planner: Planner, name: str, section: spec.Perturbations, seed: int) -> None:
    if len(planner.data.shape) != 3:
        return
    for source in planner.here(section.sources):
        for attack in section.attacks:
            crafted = planner.craft(source, attack, section.eps, planner.images(section.images), seed, name)
            label = f"perturbations of {with_seed(source, seed)}, {attack}"
            task = planner.task("perturbations", label, {"shown": section.shown}, {"adversarials": crafted.key}, seconds=0.2)
            planner.plan.add(task, name, f"{attack}|{with_seed(source, seed)}")


def _probabilities(planner: Planner, name: str, section: spec.Probabilities, seed: int) -> None:
    networks = list(planner.here(section.networks))
    if seed != planner.study.seeds[0] or not networks:
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


def _resources(planner: Planner, name: str, section: spec.Resources) -> None:
    for label in planner.here(section.networks):
        if planner.study.networks[label].model is None:
            network, options = planner.constructor(label)
            fields = {"network": network, "options": options, "shape": list(planner.data.shape), "classes": list(planner.data.classes)}
            task = planner.task("resources", f"resources of {label}", fields, {}, seconds=0.1, code=planner.code_of_network(label, 0))
            planner.plan.add(task, name, label)
