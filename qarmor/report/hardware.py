"""Sections about hardware as ``results.json`` has them: networks under noise, with finite shots, and certified radii."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qarmor.report.reader import Reader, bad


@dataclass(frozen=True)
class Rate:
    """A share of images with its 95 % interval; None where the results don't say."""

    value: float
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True)
class Setting:
    """Noise: its kind, its strength (None for a channel that has none) and where it acts."""

    kind: str
    rate: float | None
    where: str


@dataclass(frozen=True)
class Shots:
    """Accuracy against shots an image. ``needed`` is the number for the accuracy ``wanted``, None where no number that was tried reaches it."""

    exact: float
    wanted: float
    needed: int | None
    majority: float | None
    n: int | None
    points: tuple[tuple[int, Rate], ...]


@dataclass(frozen=True)
class UnderNoise:
    """One network under one noise, or under none: clean, by attack and eps, and with shots."""

    dataset: str
    network: str
    label: str
    noise: Setting | None
    clean: Rate | None
    attacked: Mapping[tuple[str, float], Rate]
    shots: Shots | None


@dataclass(frozen=True)
class Noisy:
    """Kind ``noise``."""

    entries: tuple[UnderNoise, ...]


@dataclass(frozen=True)
class WithShots:
    """One network with finite shots."""

    dataset: str
    network: str
    shots: Shots


@dataclass(frozen=True)
class FiniteShots:
    """Kind ``shots``."""

    entries: tuple[WithShots, ...]


@dataclass(frozen=True)
class Certificate:
    """Certified radius over smallest successful attack: the median with its interval, and the images where the certificate was wrong."""

    name: str
    median: float | None
    low: float | None
    high: float | None
    n: int
    violations: int


@dataclass(frozen=True)
class Certified:
    """One network's certificates, and against eps its accuracy under the best attack and the share that each certificate vouches for."""

    dataset: str
    network: str
    attack: str
    n: int | None
    accuracy: float | None
    certificates: tuple[Certificate, ...]
    eps: tuple[float, ...]
    attacked: tuple[Rate, ...]
    certified: Mapping[str, tuple[Rate, ...]]


@dataclass(frozen=True)
class Certificates:
    """Kind ``certificates``."""

    entries: tuple[Certified, ...]


def rate(about: Reader) -> Rate:
    """A share that must be there; an interval must lie around it."""
    found = Rate(about.required("value"), about.number("low"), about.number("high"), about.count("n"))
    if found.low is not None and found.high is not None and not (found.low - 1e-9 <= found.value <= found.high + 1e-9 or found.value != found.value):
        raise bad(about.path, f"{about.where}: {found.value:g} lies outside its interval [{found.low:g}, {found.high:g}]")
    return found


def under_noise(about: Reader) -> UnderNoise:
    """An entry of kind ``noise``."""
    attacked = {(one.name("attack"), one.required("eps")): rate(one) for one in about.each("attacked")}
    return UnderNoise(
        dataset=about.name("dataset"),
        network=about.name("network"),
        label=about.name("label"),
        noise=_setting(about.below("noise")) if about.mapping("noise") else None,
        clean=rate(about.below("clean")) if about.mapping("clean") else None,
        attacked=attacked,
        shots=_shots(about.below("shots")) if about.mapping("shots") else None,
    )


def with_shots(about: Reader) -> WithShots:
    """An entry of kind ``shots``."""
    return WithShots(about.name("dataset"), about.name("network"), _shots(about.below("shots")))


def certified(about: Reader) -> Certified:
    """An entry of kind ``certificates``."""
    curve = about.below("curve")
    eps, attacked = curve.numbers("eps"), tuple(rate(one) for one in curve.each("attacked"))
    found = {name: tuple(rate(one) for one in curve.each(name)) for name in curve.value if name not in ("eps", "attacked")}
    for name, values in {"attacked": attacked, **found}.items():
        if len(values) != len(eps):
            raise bad(about.path, f"{curve.place(name)} should be {len(eps)} values, one an eps, got {len(values)}")
    return Certified(
        dataset=about.name("dataset"),
        network=about.name("network"),
        attack=about.text("attack"),
        n=about.count("n"),
        accuracy=about.number("accuracy"),
        certificates=tuple(_certificate(one) for one in about.each("certificates")),
        eps=eps,
        attacked=attacked,
        certified=found,
    )


def _setting(about: Reader) -> Setting:
    strength = about.number("rate")
    if strength is not None and not 0 <= strength <= 1:
        raise bad(about.path, f"{about.place('rate')} should be between 0 and 1, got {strength:g}")
    return Setting(about.name("kind"), strength, about.name("where"))


def _shots(about: Reader) -> Shots:
    points = tuple((one.whole("shots", 1), rate(one)) for one in about.each("points"))
    needed = None if about.number("needed") is None else about.whole("needed", 1)
    return Shots(about.required("exact"), about.required("wanted"), needed, about.number("majority"), about.count("n"), points)


def _certificate(about: Reader) -> Certificate:
    median, low, high = (about.number(field) for field in ("median", "low", "high"))
    return Certificate(about.name("name"), median, low, high, about.whole("n"), about.whole("violations"))
