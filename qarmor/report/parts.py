"""The sections of a study as ``results.json`` has them, one dataclass a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qarmor.report import detection, gallery, hardware, overview, repeats
from qarmor.report.reader import Array, Reader, arrays_path, bad, check_labels, check_picture, read_arrays

ROWS = ("transfer", "white-box", "frontier", "clean")
_HARDWARE = ("noise", "shots", "certificates", "detection")
KINDS = (*ROWS, "repeats", "training", "resources", "perturbations", "probabilities", "gallery", *_HARDWARE, "overview", "missing")
STATUSES = ("complete", "partial", "missing")


@dataclass(frozen=True)
class PaperValue:
    """What the paper gives for one quantity, a number or words; ``""`` for any data set or network, None where the paper gives nothing."""

    dataset: str
    network: str
    quantity: str
    value: float | str
    n: int | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Attacked:
    """Kinds ``transfer``, ``white-box``, ``frontier`` and ``clean``: the rows of these tasks, and the order of networks and attacks."""

    keys: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    attacks: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """Kind ``training``: the networks whose histories are shown."""

    networks: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """A way to encode the image: its amplitudes (real or complex), its gates by kind, and its depth."""

    amplitudes: str
    gates: Mapping[str, int]
    depth: int | None


@dataclass(frozen=True)
class Resource:
    """What one network takes: by name, a number, words or None; ``gates`` by name, empty where there are none; ways to encode the image."""

    dataset: str
    network: str
    values: Mapping[str, float | str | None]
    gates: Mapping[str, int]
    preparations: tuple[Preparation, ...]


@dataclass(frozen=True)
class Resources:
    """Kind ``resources``."""

    entries: tuple[Resource, ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images ``(k, C, H, W)``, C 1 or 3: clean, adversarial and the difference."""

    clean: Array
    adversarial: Array
    perturbation: Array


@dataclass(frozen=True, eq=False)
class Gallery:
    """Perturbations of one source by one attack at one eps; ``pictures`` is None where the data are no images."""

    dataset: str
    source: str
    attack: str
    eps: float
    n: int | None
    share: float | None
    share_low: float | None
    share_high: float | None
    labels: tuple[int, ...]
    clean_predictions: tuple[int, ...]
    adversarial_predictions: tuple[int, ...]
    pictures: Pictures | None


@dataclass(frozen=True, eq=False)
class Perturbations:
    """Kind ``perturbations``."""

    entries: tuple[Gallery, ...]


@dataclass(frozen=True, eq=False)
class OneImage:
    """Class probabilities ``(len(eps), K)`` of one image against eps, by network; ``image`` is ``(C, H, W)`` or None."""

    dataset: str
    attack: str
    eps: tuple[float, ...]
    label: int
    index: int | None
    networks: Mapping[str, tuple[tuple[float, ...], ...]]
    image: Array | None


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Kind ``probabilities``."""

    entries: tuple[OneImage, ...]


Body = (
    Attacked
    | repeats.Repeats
    | Training
    | Resources
    | Perturbations
    | Probabilities
    | gallery.Attempts
    | hardware.Noisy
    | hardware.FiniteShots
    | hardware.Certificates
    | detection.Detection
    | overview.Overview
)


@dataclass(frozen=True, eq=False)
class Section:
    """One section of a study; ``body`` is None where its status is ``missing``."""

    name: str
    item: str
    title: str
    kind: str
    note: str
    datasets: tuple[str, ...]
    status: str
    done: int | None
    planned: int | None
    reason: str
    paper: tuple[PaperValue, ...]
    body: Body | None


def read_section(about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> Section:
    """The section, with the arrays that it names.

    Args:
        about: the section in ``results.json``.
        directory: where the paths of arrays begin.
        classes: names of the classes of each data set.

    Raises:
        FileNotFoundError: a file of arrays is missing.
        ValueError: the section or a file isn't what it should be.
    """
    kind, status = about.text("kind"), about.text("status")
    for field, value, known in (("kind", kind, KINDS), ("status", status, STATUSES)):
        if value not in known:
            raise bad(about.path, f"{about.place(field)} should be one of {', '.join(known)}, got {value!r}")
    return Section(
        name=about.name("name"),
        item=about.text("item"),
        title=about.text("title") or about.name("name"),
        kind=kind,
        note=about.text("note"),
        datasets=about.texts("datasets"),
        status=status,
        done=about.count("done"),
        planned=about.count("planned"),
        reason=about.text("reason"),
        paper=tuple(_paper(one) for one in about.each("paper")),
        body=None if "missing" in (status, kind) else _body(kind, about, directory, classes),
    )


def _body(kind: str, about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> Body:
    if kind in ROWS:
        return Attacked(about.texts("keys"), about.texts("sources"), about.texts("targets"), about.texts("attacks"))
    if kind == "training":
        return Training(about.texts("networks"))
    if kind == "overview":
        return overview.read(about, directory, classes)
    entries = about.each("entries")
    if kind == "repeats":
        return repeats.Repeats(tuple(repeats.repeated(one) for one in entries))
    if kind == "resources":
        return Resources(tuple(_resource(one) for one in entries))
    if kind == "perturbations":
        return Perturbations(tuple(_gallery(one, directory, classes) for one in entries))
    if kind == "gallery":
        return gallery.attempts(entries, [arrays_path(one, directory) for one in entries], classes)
    if kind == "noise":
        return hardware.Noisy(tuple(hardware.under_noise(one) for one in entries))
    if kind == "shots":
        return hardware.FiniteShots(tuple(hardware.with_shots(one) for one in entries))
    if kind == "certificates":
        return hardware.Certificates(tuple(hardware.certified(one) for one in entries))
    if kind == "detection":
        return detection.Detection(tuple(detection.pair(one) for one in entries))
    return Probabilities(tuple(_one_image(one, directory, classes) for one in entries))


def _paper(about: Reader) -> PaperValue:
    value = about.value.get("value")
    return PaperValue(
        dataset=about.text("dataset"),
        network=about.text("network"),
        quantity=about.name("quantity"),
        value=value if isinstance(value, str) else about.required("value"),
        n=about.count("n"),
        low=about.number("low"),
        high=about.number("high"),
    )


def _resource(about: Reader) -> Resource:
    apart = ("dataset", "network", "gates", "preparations")
    values = {name: _scalar(about, name) for name in about.value if name not in apart}
    ways = tuple(Preparation(one.name("amplitudes"), _counts(one, "gates"), one.count("depth")) for one in about.each("preparations"))
    return Resource(about.text("dataset"), about.name("network"), values, _counts(about, "gates"), ways)


def _counts(about: Reader, field: str) -> dict[str, int]:
    return {name: about.below(field).count(name) or 0 for name in about.mapping(field)}


def _scalar(about: Reader, field: str) -> float | str | None:
    value = about.value[field]
    return value if isinstance(value, str) else about.number(field)


def _gallery(about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> Gallery:
    dataset = about.name("dataset")
    labels, before, after = (about.integers(field) for field in ("labels", "clean_predictions", "adversarial_predictions"))
    check_labels(about, (*labels, *before, *after), classes.get(dataset))
    if not len(labels) == len(before) == len(after):
        raise bad(about.path, f"{about.where}: labels and predictions differ in number: {len(labels)}, {len(before)}, {len(after)}")
    return Gallery(
        dataset=dataset,
        source=about.name("source"),
        attack=about.text("attack"),
        eps=about.required("eps"),
        n=about.count("n"),
        share=about.number("share"),
        share_low=about.number("share_low"),
        share_high=about.number("share_high"),
        labels=labels,
        clean_predictions=before,
        adversarial_predictions=after,
        pictures=_pictures(about, directory, len(labels)),
    )


def _pictures(about: Reader, directory: Path, count: int) -> Pictures | None:
    """The three arrays; None where there is no file, or where they are vectors ``(k, d)``."""
    if (path := arrays_path(about, directory)) is None:
        return None
    arrays, parts = read_arrays(path), []
    for name in ("clean", "adversarial", "perturbation"):
        if name not in arrays:
            raise bad(path, f"it has no array {name}")
        parts.append(arrays[name])
    if any(part.shape != parts[0].shape for part in parts) or len(parts[0].shape) < 2 or len(parts[0]) != count:
        raise bad(
            path, f"clean, adversarial and perturbation should be of one shape, for {count} images, got {', '.join(str(p.shape) for p in parts)}"
        )
    if parts[0].ndim == 2:
        return None
    for part in parts:
        check_picture(part, path)
    return Pictures(*parts)


def _one_image(about: Reader, directory: Path, classes: Mapping[str, Sequence[str]]) -> OneImage:
    dataset, eps, label = about.name("dataset"), about.numbers("eps"), int(about.required("label"))
    check_labels(about, [label], classes.get(dataset))
    networks, count = {}, len(classes.get(dataset, ()))
    for name, lines in about.mapping("networks").items():
        table = about.below("networks")
        rows = Reader(about.path, {str(i): line for i, line in enumerate(table.items(name))}, table.place(name))
        networks[name] = tuple(rows.numbers(str(i)) for i in range(len(lines)))
        count = count or len(networks[name][0] if networks[name] else ())
        if len(networks[name]) != len(eps) or label >= count or any(len(line) != count for line in networks[name]):
            raise bad(about.path, f"{table.place(name)} should be {len(eps)} lists (one an eps) of {count} probabilities (one a class)")
    image = None
    if (path := arrays_path(about, directory)) is not None:
        arrays = read_arrays(path)
        if "image" not in arrays:
            raise bad(path, "it has no array image")
        if arrays["image"].ndim == 3:
            image = arrays["image"]
            check_picture(image[None], path)
        elif arrays["image"].ndim != 1:
            raise bad(path, f"image should be (C, H, W) or (d,), got shape {arrays['image'].shape}")
    return OneImage(dataset, about.text("attack"), eps, label, about.count("index"), networks, image)
