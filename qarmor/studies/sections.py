"""The kinds of sections that a study may have, as they stand in TOML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\\|\x00-\x1f]+$")]
Names = Annotated[list[Name], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Eps = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=2)]


class Part(BaseModel):
    """A part of a study: frozen, strict, with no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PaperNumber(Part):
    """A number of the paper, to stand beside ours. ``n``: of how many images it is a rate."""

    dataset: str = ""
    network: str = ""
    quantity: str = "accuracy"
    value: float | str
    n: Count | None = None


class _Section(Part):
    item: str = ""
    title: str
    note: str = ""
    datasets: Names | None = None
    paper: list[PaperNumber] = Field(default_factory=list)


class _Attacked(_Section):
    """``eps`` and ``images``: a name of the study's tables, or values."""

    attacks: list[Name] = Field(min_length=1)
    eps: str | list[Eps]
    images: str | Count


class Transfer(_Attacked):
    """Every source attacked at every eps, all targets judged on the outcome."""

    kind: Literal["transfer"]
    sources: list[Name] = Field(min_length=1)
    targets: list[Name] = Field(min_length=1)


class Repeats(_Attacked):
    """A transfer with networks trained anew under each of ``seeds``: how much of a number is luck of the training. Claims are judged over them.

    ``clean``: on how many images accuracies without attack are measured, all unless given.
    """

    kind: Literal["repeats"]
    sources: list[Name] = Field(min_length=1)
    targets: list[Name] = Field(min_length=1)
    seeds: Seeds
    clean: str | Count | None = None


class WhiteBox(_Attacked):
    """Every network attacked directly: source and target in one."""

    kind: Literal["white-box"]
    networks: list[Name] = Field(min_length=1)


class Frontier(_Attacked):
    """Clean accuracy against accuracy under attack, a point a network."""

    kind: Literal["frontier"]
    networks: list[Name] = Field(min_length=1)


class Clean(_Section):
    """Accuracy on clean test images, all unless ``images`` says how many."""

    kind: Literal["clean"]
    networks: list[Name] = Field(min_length=1)
    images: str | Count | None = None


class Training(_Section):
    """Loss and accuracy during training."""

    kind: Literal["training"]
    networks: list[Name] = Field(min_length=1)


class Resources(_Section):
    """Qubits, layers, parameters, gates."""

    kind: Literal["resources"]
    networks: list[Name] = Field(min_length=1)


class Perturbations(_Section):
    """What perturbations look like, ``shown`` of them, and their low-frequency share over all ``images``."""

    kind: Literal["perturbations"]
    sources: list[Name] = Field(min_length=1)
    attacks: list[Name] = Field(min_length=1)
    eps: Eps
    images: str | Count
    shown: Annotated[int, Field(ge=1, le=20)] = 6


class Probabilities(_Section):
    """Class probabilities of one image against eps: the first of ``images`` that all networks get right."""

    kind: Literal["probabilities"]
    networks: list[Name] = Field(min_length=1)
    attack: Name
    eps: str | list[Eps]
    images: str | Count


class Attempts(Part):
    """Attacks with their grid of eps and their images."""

    attacks: list[Name] = Field(min_length=1)
    eps: str | list[Eps]
    images: str | Count


class Gallery(_Attacked):
    """Single images to look at: clean, attacked, and what every network makes of them.

    ``shown`` images, drawn with the study's ``image_seed`` from those that all attacks have, class by class in turn. ``also``: attacks on the same
    ``sources`` that have another grid or other images.
    """

    kind: Literal["gallery"]
    sources: list[Name] = Field(min_length=1)
    networks: list[Name] = Field(min_length=1)
    shown: Annotated[int, Field(ge=1, le=40)] = 10
    also: list[Attempts] = []


class NoiseSpec(Part):
    """A kind of noise at several strengths; see ``qarmor.circuits.noise.Noise``."""

    kind: Literal["depolarising", "global-depolarising", "amplitude-damping", "bit-flip", "phase-flip"]
    rates: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    where: Literal["end", "layer", "gate"] = "layer"


class Noisy(_Section):
    """Quantum networks under noise: clean accuracy, accuracy under attacks on the noisy network itself, and the shots for 95 % of the exact accuracy.

    ``noise``: a name of the study's tables, or settings.
    """

    kind: Literal["noise"]
    networks: list[Name] = Field(min_length=1)
    noise: str | Annotated[list[NoiseSpec], Field(min_length=1)]
    attacks: list[Name] = Field(default_factory=list)
    eps: str | list[Eps] = []
    images: str | Count


class FiniteShots(_Section):
    """Accuracy of quantum networks against the number of shots."""

    kind: Literal["shots"]
    networks: list[Name] = Field(min_length=1)
    shots: list[Count] = Field(min_length=1)
    images: str | Count


class Certificates(_Section):
    """Certified radii of quantum networks and quadratic models beside the smallest attack that succeeds."""

    kind: Literal["certificates"]
    networks: list[Name] = Field(min_length=1)
    attack: Name
    eps: str | list[Eps]
    images: str | Count


class Detection(_Section):
    """Detection by disagreement of ``pairs`` of networks: ``images`` clean ones, as many attacked, as many held out for the threshold.

    Each image is attacked by one of ``attacks`` with an eps from the range; who knows the detector uses ``adaptive``.
    """

    kind: Literal["detection"]
    pairs: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = Field(min_length=1)
    attacks: list[Name] = Field(min_length=1)
    adaptive: list[Name] = Field(min_length=1)
    eps: Annotated[list[Eps], Field(min_length=2, max_length=2)]
    images: str | Count
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05


class Overview(_Section):
    """What the study is about: ``shown`` images of each data set, one attacked, what the networks are made of, what transfer and defence mean.

    The attacked image is one of those that ``attack`` made of ``images`` on ``source`` at ``eps``.
    """

    kind: Literal["overview"]
    source: Name
    attack: Name
    eps: Eps
    images: str | Count
    shown: Annotated[int, Field(ge=1, le=20)] = 10
    networks: list[Name] = Field(min_length=1)


class Missing(_Section):
    """Something that belongs to the study and is not in it yet."""

    kind: Literal["missing"]
    reason: str


Section = Annotated[
    Transfer
    | Repeats
    | WhiteBox
    | Clean
    | Training
    | Resources
    | Perturbations
    | Probabilities
    | Gallery
    | Noisy
    | FiniteShots
    | Certificates
    | Detection
    | Frontier
    | Overview
    | Missing,
    Field(discriminator="kind"),
]
