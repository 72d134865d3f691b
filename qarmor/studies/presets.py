"""A preset merged into its study."""

from __future__ import annotations

from typing import Any

from qarmor.studies.sections import Detection, Overview, Repeats
from qarmor.studies.spec import AttackSpec, SpecError, Study


def resolve(study: Study, preset: str | None, name: str = "study") -> Study:
    """The study with a preset merged in; by default ``quick`` where the study has presets.

    Raises:
        SpecError: the study has no such preset.
    """
    if preset is None:
        preset = "quick" if "quick" in study.presets else None
    if preset is None:
        return study
    if preset not in study.presets:
        raise SpecError(f"{name}: it has no preset {preset!r}; it has {', '.join(study.presets) or 'none'}")
    chosen = study.presets[preset]
    networks = dict(study.networks)
    for label, network in study.networks.items():
        epochs = chosen.epochs.get(label) if isinstance(chosen.epochs, dict) else chosen.epochs
        if epochs is not None and network.model is None:
            before = network.epochs if isinstance(network.epochs, dict) else {} if network.epochs is None else {"default": network.epochs}
            merged = {**before, **epochs} if isinstance(epochs, dict) else epochs
            networks[label] = network.model_copy(update={"epochs": merged})
    if chosen.without:
        study = _without(study, set(chosen.without), f"{name}: presets.{preset}.without")
        networks = {label: network for label, network in networks.items() if label in study.networks}
    changes: dict[str, Any] = {
        "networks": networks,
        "images": study.images | chosen.images,
        "eps": study.eps | chosen.eps,
        "noise": study.noise | chosen.noise,
        "attacks": study.attacks | {label: _with_options(study.attacks[label], options) for label, options in chosen.attacks.items()},
    }
    if chosen.seeds is not None:
        changes["seeds"] = chosen.seeds
    if chosen.repeats is not None:
        changes["sections"] = {
            label: section.model_copy(update={"seeds": chosen.repeats}) if isinstance(section, Repeats) else section
            for label, section in study.sections.items()
        }
    if chosen.train is not None:
        changes["train"] = chosen.train
    return study.model_copy(update=changes)


def _without(study: Study, names: set[str], path: str) -> Study:
    """The study without some networks; its note says so. Raises SpecError for a section that would have none left."""
    sections = {}
    for label, section in study.sections.items():
        kept: dict[str, Any] = {
            key: [n for n in value if n not in names] for key in ("sources", "targets", "networks") if (value := getattr(section, key, None))
        }
        if isinstance(section, Detection):
            kept["pairs"] = [pair for pair in section.pairs if not names & set(pair)]
        if isinstance(section, Overview) and section.source in names:
            raise SpecError(f"{path}: sections.{label}.source is {section.source!r}; name another network there, or leave it in")
        if empty := [key for key, value in kept.items() if not value]:
            raise SpecError(f"{path}: sections.{label}.{empty[0]} would be empty; leave one network in it")
        sections[label] = section.model_copy(update=kept)
    networks = {label: network for label, network in study.networks.items() if label not in names}
    note = f"{study.note} This preset leaves out the networks {', '.join(sorted(names))}.".strip()
    return study.model_copy(update={"sections": sections, "networks": networks, "note": note})


def _with_options(attack: AttackSpec, options: dict[str, Any]) -> AttackSpec:
    return AttackSpec(attack=attack.attack, **{**attack.options, **options})
