"""Makes the tasks of one data set, each thing once, and the key of each; ``plan`` says which."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qarmor import attacks, data, models, training
from qarmor.studies import costs
from qarmor.studies.digests import content_digest, state_digest
from qarmor.studies.fingerprint import fingerprint, modules_of
from qarmor.studies.spec import SpecError, Study
from qarmor.studies.store import digest
from qarmor.studies.task import Plan, Task
from qarmor.types import Attack, Dataset, named_object

# What each kind of task computes with; the classes of networks and attacks are added where they take part.
MODULES: Mapping[str, tuple[str, ...]] = {
    "train": ("qarmor.studies.tasks.train", "qarmor.training.fit"),
    "import": ("qarmor.studies.tasks.train",),
    "craft": ("qarmor.studies.tasks.craft", "qarmor.evaluation.craft"),
    "score": ("qarmor.studies.tasks.score", "qarmor.evaluation.score"),
    "clean": ("qarmor.studies.tasks.score", "qarmor.evaluation.score"),
    "perturbations": ("qarmor.studies.tasks.show", "qarmor.evaluation.perturbations"),
    "probabilities": ("qarmor.studies.tasks.show", "qarmor.evaluation.probabilities"),
    "gallery": ("qarmor.studies.tasks.gallery",),
    "resources": ("qarmor.studies.tasks.show", "qarmor.evaluation.resources"),
    "noise": ("qarmor.studies.tasks.hardware", "qarmor.circuits.noise", "qarmor.models.qvc"),
    "shots": ("qarmor.studies.tasks.hardware", "qarmor.evaluation.shots", "qarmor.models.shots"),
    "certify": ("qarmor.studies.tasks.hardware", "qarmor.evaluation.certificates"),
    "pictures": ("qarmor.studies.tasks.overview",),
    "architecture": ("qarmor.studies.tasks.overview",),
    "detect": ("qarmor.studies.tasks.detect", "qarmor.evaluation.detection.measure"),
}
KINDS = tuple(MODULES)


class Planner:
    """Builds one plan; holds what is the same for all its tasks."""

    def __init__(self, study: Study, name: str, origin: str) -> None:
        self.study, self.name, self.origin = study, name, origin
        self.source = study.datasets[name].source or name
        if self.source.endswith(".npz"):
            self.source = str(Path(self.source).resolve())  # a worker, or who verifies later, may be in another folder
        self.data = self._load()
        self.digest = content_digest(self.data)
        self.common = {"threads": study.threads, "device": study.device}
        self.context = {"source": self.source}
        self.built: dict[str, Attack] = {label: self._attack(label) for label in study.attacks}
        self.structures: dict[str, nn.Module] = {}
        self.noisy: dict[str, tuple[str, dict[str, Any]]] = {}
        test = self.data.test
        counts = torch.bincount(test.y, minlength=len(self.data.classes))
        about = {
            "train": len(self.data.train),
            "test": len(test),
            "shape": list(self.data.shape),
            "classes": list(self.data.classes),
            "majority": int(counts.max()) / len(test),
            "sources": dict(self.data.sources),
            "digest": self.digest,
            "networks": {},
            "attacks": {k: {"name": a.name, "parameters": dict(a.parameters)} for k, a in self.built.items()},
        }
        self.plan = Plan(name, about)

    def _load(self) -> Dataset:
        where = f"{self.origin}: " if self.origin else ""
        try:
            return data.load(self.source)
        except (ValueError, OSError) as error:
            if not self.origin:
                raise
            advice = "; --only leaves a data set out" if len(self.study.datasets) > 1 else ""
            raise type(error)(f"{where}datasets.{self.name}: {error}{advice}") from error
        except Exception as error:  # whatever someone else's factory raises
            raise self._fail(f"datasets.{self.name}.source", _blamed(self.source, error)) from error

    def _fail(self, path: str, error: Exception) -> SpecError:
        return SpecError(f"{self.origin}: {path}: {error}" if self.origin else f"{path}: {error}")

    def _attack(self, label: str) -> Attack:
        entry = self.study.attacks[label]
        try:
            attack = attacks.build(entry.attack or label, **entry.options)
        except (ValueError, TypeError) as error:
            named = next((f".{key}" for key in entry.options if str(error).startswith(f"{key} must")), "")
            raise self._fail(f"attacks.{label}{named}", error) from error
        except Exception as error:  # whatever someone else's factory raises
            raise self._fail(f"attacks.{label}", _blamed(entry.attack or label, error)) from error
        if isinstance(attack, attacks.BaseAttack | attacks.Wrapper):
            attack = attack.for_classes(len(self.data.classes))
        if attack.parameters.get("loss") == "dlr" and len(self.data.classes) < 3:
            raise self._fail(f"attacks.{label}.loss", ValueError(f"dlr needs three classes or more, {self.name} has {len(self.data.classes)}"))
        return attack

    def structure(self, label: str, seed: int) -> nn.Module:
        """The network without its weights, to see that it can be; for a ready-made one, the network."""
        if label in self.noisy and label not in self.structures:
            pixels = math.prod(self.data.shape)
            self.structures[label] = models.Quadratic(torch.empty(len(self.data.classes), pixels, pixels, device="meta"))
        if label not in self.structures:
            entry = self.study.networks[label]
            if entry.model is not None:
                try:
                    self.structures[label] = models.load(entry.model)
                except (ValueError, TypeError, RuntimeError, OSError) as error:
                    if not self.origin:  # no file that a path would help to find it in
                        raise
                    raise self._fail(f"networks.{label}", error) from error
                return self.structures[label]
            try:
                network, options = self.constructor(label)
                if ":" in network:  # someone else's constructor may not work without memory
                    self.structures[label] = models.build(network, self.data, seed=seed, **options)
                else:
                    with torch.device("meta"):
                        self.structures[label] = models.build(network, self.data, seed=seed, **options)
            except (ValueError, TypeError, RuntimeError) as error:
                named = next((f".options.{key}" for key in entry.options if str(error).startswith(f"{key} must")), "")
                raise self._fail(f"networks.{label}{named}", error) from error
            except Exception as error:  # whatever someone else's factory raises
                raise self._fail(f"networks.{label}", _blamed(self.study.networks[label].network or label, error)) from error
        return self.structures[label]

    def constructor(self, label: str) -> tuple[str, dict[str, Any]]:
        """Name or factory of a network, and the options of its constructor."""
        entry = self.study.networks[label]
        network = entry.network or label
        return network, {**training.recipe_for(network, entry.recipe).network, **entry.options}

    def _recipe(self, label: str) -> training.Recipe:
        entry = self.study.networks[label]
        changes: dict[str, Any] = {"epochs": entry.epochs_on(self.name), "batch_size": entry.batch_size, "lr": entry.lr, "schedule": entry.schedule}
        if entry.adversarial is not None:
            adversarial = entry.adversarial
            changes["adversarial"] = training.Adversarial(self.built[adversarial.attack], adversarial.eps, adversarial.fraction)
        try:
            recipe = training.recipe_for(entry.network or label, entry.recipe)
            return dataclasses.replace(recipe, network={}, **{k: v for k, v in changes.items() if v is not None})
        except ValueError as error:
            raise self._fail(f"networks.{label}", error) from error

    def attack_spec(self, label: str) -> dict[str, Any]:
        """An attack as part of a spec. Ours are rebuilt from all their parameters, so that a default is the same as the value written out."""
        entry, attack = self.study.attacks[label], self.built[label]
        build = entry.attack or label
        options = {**entry.options, **attack.options} if isinstance(attack, attacks.BaseAttack) else entry.options
        return {"build": build, "options": options, "parameters": dict(attack.parameters)}

    def task(
        self,
        kind: str,
        label: str,
        fields: Mapping[str, Any],
        inputs: Mapping[str, str],
        *,
        seconds: float,
        memory: int = 0,
        code: Iterable[str] = (),
    ) -> Task:
        """A task of ``kind``: its key is made here, of ``fields``, the inputs' keys and the fingerprint of the code."""
        whole = json.loads(json.dumps({**fields, **(self.common if kind not in ("resources", "architecture") else {})}))
        print_of_code = fingerprint({*MODULES[kind], *code})
        key = digest({"kind": kind, "spec": whole, "inputs": dict(inputs), "code": print_of_code})
        return Task(key, kind, f"{label}, {self.name}", whole, dict(inputs), self.context, self.name, seconds, memory)

    def code_of_network(self, label: str, seed: int) -> set[str]:
        """The modules that a network is written in."""
        structure = self.structure(label, seed)
        entry = self.study.networks[label]
        named = entry.model or entry.network or label
        return modules_of(*structure.modules(), *([named_object(named)] if ":" in named and not Path(named).exists() else []))

    def code_of_attack(self, label: str) -> set[str]:
        """The modules that an attack is written in."""
        named = self.study.attacks[label].attack or label
        attack = self.built[label]
        inner = [attack.attack] if isinstance(attack, attacks.Wrapper) else []
        return modules_of(attack, *inner, *([named_object(named)] if ":" in named else []))

    def network(self, label: str, seed: int, section: str) -> Task:
        """The task that makes a network."""
        if label in self.noisy:
            return self._with_noise(label, seed, section)
        entry = self.study.networks[label]
        structure = self.structure(label, seed)
        shown = with_seed(label, seed)
        if entry.model is not None:
            # two factories in one file may have the same weights
            factory = entry.model if ":" in entry.model and not Path(entry.model).exists() else None
            fields: dict[str, Any] = {"state": state_digest(structure), "factory": factory}
            task = self.task("import", f"take {label}", fields, {}, seconds=0.1, code=self.code_of_network(label, seed))
            task = dataclasses.replace(
                task, context={**self.context, "model": str(Path(entry.model).resolve()) if Path(entry.model).exists() else entry.model}
            )
        else:
            task = self._training(label, seed)
        about = self.plan.about["networks"].setdefault(shown, {"seed": seed, "key": task.key})
        if len(about) == 2:
            about |= _described(structure)
            about["recipe_name"] = "" if entry.model else training.recipe_for(entry.network or label, entry.recipe).name
            about["recipe"] = "ready-made" if entry.model else _in_words(self._recipe(label))
            about["epochs"] = None if entry.model else self._recipe(label).epochs
            about["train_images"] = None if entry.model else min(self.study.train or len(self.data.train), len(self.data.train))
        return self.plan.add(task, section, "network")

    def noise(self, label: str, noise: Mapping[str, Any]) -> str:
        """The name of a QVC under noise, from now on a network like any other.

        Raises:
            SpecError: the network is no QVC.
        """
        if not isinstance(self.structure(label, self.study.seeds[0]), models.QVC):
            raise self._fail(f"networks.{label}", ValueError(f"noise needs a QVC, {label!r} is none"))
        name = f"{label}, {noise['kind']} {noise['rate']:g}, {noise['where']}"
        self.noisy[name] = (label, dict(noise))
        return name

    def _with_noise(self, label: str, seed: int, section: str) -> Task:
        base, noise = self.noisy[label]
        made, shown = self.network(base, seed, section), with_seed(label, seed)
        structure = self.structure(base, seed)
        seconds = costs.noise_seconds(structure, len(self.data.classes))
        fields = {"noise": noise, "pixels": math.prod(self.data.shape)}
        task = self.task("noise", f"noise of {shown}", fields, {"network": made.key}, seconds=seconds, memory=costs.memory(structure, self.data))
        task = dataclasses.replace(task, context={**self.context, "base": base})
        words = f"{with_seed(base, seed)} with {noise['kind']} {noise['rate']:g} ({noise['where']})"
        about = {
            "seed": seed,
            "key": task.key,
            "kind": "quantum",
            "architecture": words,
            "parameters": None,
            "recipe_name": "",
            "recipe": f"as {base}",
        }
        self.plan.about["networks"].setdefault(shown, {**about, "epochs": None, "train_images": None})
        return self.plan.add(task, section, "network")

    def _training(self, label: str, seed: int) -> Task:
        recipe = self._recipe(label)
        network, options = self.constructor(label)
        images = min(self.study.train or len(self.data.train), len(self.data.train))
        entries = recipe.record()
        del entries["name"], entries["network"]
        code = self.code_of_network(label, seed)
        passes = 1.0
        if recipe.adversarial is not None and (adversarial := self.study.networks[label].adversarial):
            entries["adversarial"] = {**entries["adversarial"], "attack": self.attack_spec(adversarial.attack)}
            code |= self.code_of_attack(adversarial.attack)
            passes += recipe.adversarial.fraction * costs.passes(recipe.adversarial.attack.parameters)
        fields = {"data": self.digest, "images": images, "network": network, "options": options, "recipe": entries, "seed": seed}
        structure = self.structure(label, seed)
        seconds = costs.training_seconds(structure, self.data.shape, images * recipe.epochs) * passes
        memory = costs.memory(structure, self.data)
        task = self.task("train", f"train {with_seed(label, seed)}", fields, {}, seconds=seconds, memory=memory, code=code)
        return dataclasses.replace(task, context={**self.context, "recipe": training.recipe_for(network, self.study.networks[label].recipe).name})

    def images(self, wanted: str | int | None) -> dict[str, Any]:
        """Which test images: how many are drawn with which seed, or all."""
        n = self.study.count(wanted)
        return {"n": None, "seed": None} if n is None or n >= len(self.data.test) else {"n": n, "seed": self.study.image_seed}

    def size(self, images: Mapping[str, Any]) -> int:
        """How many images these are."""
        return images["n"] or len(self.data.test)

    def craft(self, source: str, attack: str, eps: float, images: Mapping[str, Any], seed: int, section: str) -> Task:
        """The task that attacks ``source``."""
        made = self.network(source, seed, section)
        fields = {"data": self.digest, "images": dict(images), "attack": self.attack_spec(attack), "eps": float(eps), "seed": seed}
        structure, n = self.structure(source, seed), self.size(images)
        seconds = costs.attack_seconds(structure, self.data.shape, n) * (costs.passes(self.built[attack].parameters) if eps else 1)
        label = f"{attack} on {with_seed(source, seed)}, eps {eps:g}, {n} images"
        code, memory = self.code_of_attack(attack), costs.memory(structure, self.data)
        return self.plan.add(
            self.task("craft", label, fields, {"source": made.key}, seconds=seconds, memory=memory, code=code), section, f"{attack}|{source}|{eps!r}"
        )

    def clean(self, target: str, images: Mapping[str, Any], seed: int, section: str) -> Task:
        """The task that judges ``target`` on clean images."""
        made, shown, n = self.network(target, seed, section), with_seed(target, seed), self.size(images)
        fields = {"data": self.digest, "dataset": self.name, "images": dict(images), "target": shown}
        seconds = costs.forward_seconds(self.structure(target, seed), self.data.shape, n)
        return self.plan.add(self.task("clean", f"{shown} on {n} clean images", fields, {"target": made.key}, seconds=seconds), section, "clean")

    def here(self, networks: list[str]) -> Iterator[str]:
        """Those of the networks that this data set has."""
        for label in networks:
            restricted = self.study.networks[self.noisy[label][0] if label in self.noisy else label].datasets
            if restricted is None or self.name in restricted:
                yield label

    def score(self, crafted: Task, source: str, target: str, images: Mapping[str, Any], seed: int, section: str) -> None:
        """The task that judges ``target`` on what was crafted on ``source``."""
        shown, judged = with_seed(source, seed), with_seed(target, seed)
        fields = {"dataset": self.name, "source": shown, "target": judged}
        made = self.network(target, seed, section)
        inputs = {"adversarials": crafted.key, "target": made.key, "clean": self.clean(target, images, seed, section).key}
        seconds = costs.forward_seconds(self.structure(target, seed), self.data.shape, self.size(images))
        label = f"{judged} under {crafted.label.rsplit(',', 1)[0]}"
        self.plan.add(self.task("score", label, fields, inputs, seconds=seconds), section, "score")


def seed_suffix(seed: int) -> str:
    """What a seed adds to a network's name in rows: nothing for seed 0."""
    return "" if seed == 0 else f" (seed {seed})"


def seed_suffix_of(name: str) -> str:
    """The suffix of a network's name in rows."""
    found = re.search(r" \(seed \d+\)$", name)
    return found[0] if found else ""


def seed_of(suffix: str) -> int:
    """The seed that a suffix stands for."""
    return int(suffix.removeprefix(" (seed ").removesuffix(")")) if suffix else 0


def with_seed(label: str, seed: int) -> str:
    """A network's name in rows."""
    return label + seed_suffix(seed)


def _blamed(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name!r} raised {type(error).__name__}: {error}")


def _described(model: nn.Module) -> dict[str, Any]:
    parameters = sum(p.numel() for p in model.parameters())
    if isinstance(model, models.QVC):
        ansatz = model.ansatz
        words = f"{ansatz.qubits} qubits, {ansatz.layers} layers, {sum(ansatz.gates.values())} gates"
        return {"kind": "quantum", "architecture": words, "parameters": parameters}
    ours = isinstance(model, models.Network)
    return {"kind": "classical" if ours else "other", "architecture": type(model).__name__, "parameters": parameters}


def _in_words(recipe: training.Recipe) -> str:
    words = f"Adam {recipe.lr:g}, {recipe.schedule}, batch {recipe.batch_size}, {recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    if recipe.adversarial is not None:
        adversarial = recipe.adversarial
        words += f", {adversarial.fraction:g} of each batch attacked by {adversarial.attack.name} at eps {adversarial.eps:g}"
    return words
