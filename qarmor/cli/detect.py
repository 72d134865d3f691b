"""``qarmor detect``: two networks watch each other. How well that works on a data set, or what they say of images that arrive."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from qarmor.cli.app import MODEL_HELP, DeviceOption, SeedOption, app, check_device, is_factory, out, saved_label, usage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qarmor.evaluation.detection import Comparison, Observations
    from qarmor.types import Attack, Row, Rows

_ATTACKS = ("pgd", "fgsm", "autoattack")
_SOURCES = ("first", "second", "both")
_IMAGES, _FALSE_POSITIVES = 1000, 0.05


@app.command()
def detect(
    first: Annotated[str, typer.Argument(help=MODEL_HELP + " The one that is attacked.")],
    second: Annotated[str, typer.Argument(help=MODEL_HELP + " The one that watches it.")],
    dataset: Annotated[
        str,
        typer.Argument(
            help="A data set (name, .npz file, package.module:factory) to measure the detector on. Or images to judge: an .npz file that holds x "
            "alone, or - to read names of .npy files, an image each, from standard input, a line each, as they arrive."
        ),
    ],
    attack_names: Annotated[
        list[str] | None,
        typer.Option("--attack", help=f"{', '.join(_ATTACKS)}, or package.module:factory; may be given several times. By default these three."),
    ] = None,
    source: Annotated[str | None, typer.Option(help=f"Which model is attacked: {', '.join(_SOURCES)}. By default first.")] = None,
    images: Annotated[
        int | None,
        typer.Option(help=f"Clean images, attacked ones, and held-out ones, so many each: {_IMAGES}, or a third of the test images.", min=1),
    ] = None,
    false_positive_rate: Annotated[
        float | None, typer.Option(help=f"For which the score's threshold is set on the held-out images. {_FALSE_POSITIVES} by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Of images to judge: alarm where the score is above it, instead of where the classes differ.", min=0, max=1)
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows there, as JSON.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder for the images, clean and attacked, and both models' probabilities: all that the rows are made from.")
    ] = None,
) -> None:
    """Detect attacks by the disagreement of two models.

    On a data set: false and true positives by attack, strength and source, a score with its threshold, and an attacker who knows the detector.
    On images: a line each (tab-separated) with both models' classes, the score, and whether it is an alarm.
    """
    check_device(device)
    arriving = dataset == "-" or _holds_x_alone(dataset)
    measuring = {"--attack": attack_names, "--source": source, "--images": images, "--false-positive-rate": false_positive_rate}
    for option, value in ({**measuring, "--out": out_file, "--save": save} if arriving else {"--threshold": threshold}).items():
        if value is not None:
            raise typer.BadParameter(f"{option} goes with {'a data set' if arriving else 'images to judge'}, not with {dataset}")
    if arriving:
        _judge(_networks(first, second, device), dataset, threshold)
        return
    if source not in (None, *_SOURCES):
        raise typer.BadParameter(f"--source must be one of {', '.join(_SOURCES)}, got {source}")
    rate = _FALSE_POSITIVES if false_positive_rate is None else false_positive_rate
    if not 0 < rate < 1:
        raise typer.BadParameter(f"--false-positive-rate must be between 0 and 1, got {rate:g}")
    attacks = _attacks(attack_names)
    networks = _networks(first, second, device)
    rows, paper = _measure(networks, (first, second), dataset, attacks, source or "first", images, rate, seed, save)
    _print(rows, paper)
    if out_file is not None:
        out_file.parent.mkdir(parents=True, exist_ok=True)
        out_file.write_text(rows.to_json(), encoding="utf-8")


def _networks(first: str, second: str, device: str) -> "dict[str, nn.Module]":
    """Both models, frozen, by the names that they have in rows."""
    from qarmor import models
    from qarmor.types import frozen

    names = [saved_label(model) for model in (first, second)]
    if names[0] == names[1]:
        names = [f"{names[0]}-{number}" for number in (1, 2)]
    return {name: frozen(models.load(model).to(device)) for name, model in zip(names, (first, second), strict=True)}


def _attacks(names: list[str] | None) -> "dict[str, Attack]":
    from qarmor import attacks

    chosen = list(dict.fromkeys(names or _ATTACKS))
    return {name.replace("/", "-"): usage(lambda name=name: attacks.build(name)) for name in chosen}  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------------------------------------ images that arrive


def _holds_x_alone(dataset: str) -> bool:
    """Whether it is an .npz file with nothing but ``x`` in it; one that is no .npz file is left to whoever reads it."""
    import zipfile

    if not dataset.endswith(".npz") or not zipfile.is_zipfile(dataset):
        return False
    with zipfile.ZipFile(dataset) as file:
        return file.namelist() == ["x.npy"]


def _judge(networks: "Mapping[str, nn.Module]", dataset: str, threshold: float | None) -> None:
    from qarmor.evaluation.detection import Detector

    first, second = networks.values()
    detector = Detector(first, second, threshold)
    print("image", *networks, "score", "alarm", sep="\t", flush=True)
    for name, x in _from_input() if dataset == "-" else _from_file(dataset):
        try:
            said = detector.judge(x)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error
        alarm = "yes" if said.alarm else "no"
        print(name, int(said.first), int(said.second), f"{float(said.score):.6f}", alarm, sep="\t", flush=True)


def _from_file(path: str) -> "Iterator[tuple[str, Tensor]]":
    x = _images(path, "x")
    if x.ndim == 3:
        x = x[:, None]
    for number in range(len(x)):
        yield str(number), x[number]


def _from_input() -> "Iterator[tuple[str, Tensor]]":
    for line in sys.stdin:
        if name := line.strip():
            x = _images(name)
            yield name, x[None] if x.ndim == 2 else x


def _images(path: str, key: str | None = None) -> "Tensor":
    """The array in a .npy file, or that called ``key`` in an .npz file, as float32; bytes are divided by 255. Nothing pickled is read."""
    import numpy as np
    import torch

    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if key is None else loaded[key]
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no array of images: {error}; write it with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fu" or (array.dtype.kind == "u" and array.dtype != np.uint8):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{path}: images must be uint8, or float in [0, 1], got {kind}; convert them")
    scale = 255 if array.dtype == np.uint8 else 1
    return torch.from_numpy(array.astype(np.float32) / np.float32(scale))


# ---------------------------------------------------------------------------------------------------------------------------- how well it works


def _measure(
    networks: "dict[str, nn.Module]",
    models: tuple[str, str],
    dataset: str,
    attacks: "dict[str, Attack]",
    source: str,
    images: int | None,
    rate: float,
    seed: int,
    save: Path | None,
) -> "tuple[Rows, dict[str, Comparison]]":
    """Rows of everything, those of the attacker who knows the detector last, and the paper's counts where it has any."""
    from qarmor import data
    from qarmor.evaluation import detection

    test = data.load(dataset).test
    n = min(_IMAGES, len(test) // 3) if images is None else images
    names = list(networks) if source == "both" else [list(networks)[_SOURCES.index(source)]]
    usage(lambda: detection.split(test, n, n, seed))  # before the attacks, which take long
    found = detection.measure(networks, test, attacks, attacks, n, seed, image_seed=seed, sources=names, false_positive_rate=rate)
    if save is not None:
        _save(save, found.seen, found.x)
    rows = found.rows
    paper = detection.beside_paper(rows, dataset, *map(_known_as, models)) if source != "second" else {}
    return rows, paper


def _known_as(model: str) -> str:
    """A model as the paper calls it; ``""`` for one that is made by a factory."""
    from qarmor import models

    if is_factory(model):
        return ""
    record = models.inspect(model)
    return f"qvc{record.arguments.get('layers', '')}" if record.architecture == "QVC" else record.architecture.lower()


def _save(folder: Path, seen: "Mapping[str, Observations]", x: "Mapping[str, Tensor]") -> None:
    """A safetensors file for each set of images: ``Observations.tensors()``, and the images themselves as ``x`` in the same order."""
    from qarmor.studies.tasks.common import write_tensors

    folder.mkdir(parents=True, exist_ok=True)
    for name, observations in seen.items():
        write_tensors(folder / f"{name.replace(':', '-')}.safetensors", {**observations.tensors(), "x": x[name]})


def _print(rows: "Rows", paper: "dict[str, Comparison]") -> None:
    from qarmor.types import Rows

    everything = Rows(row for row in rows if row.parameters["by"] == "all")
    clean = everything.where(source="")
    joint = everything[0].target
    title = f"{everything[0].parameters['first']} and {everything[0].parameters['second']} on {clean[0].n} clean images of {clean[0].dataset}"
    table = Table("alarm", "attacked", "false positives", "true positives", "of images whose attack worked", "area under ROC", title=title)
    limit = clean.where(metric="score_false_positive_rate")[0].parameters
    for prefix, said in (("", "classes differ"), ("score_", f"score > {limit['threshold']:.4f}")):
        for name in dict.fromkeys(row.source for row in everything if row.source not in ("", joint)):
            mine = everything.where(source=name)
            shown = [clean.where(metric=f"{prefix}false_positive_rate"), mine.where(metric=f"{prefix}true_positive_rate")]
            shown += [mine.where(metric=f"{prefix}true_positive_rate_fooled")]
            area = _interval(mine.where(metric="auc")[0]) if prefix else ""
            table.add_row(said, name, *[_rate(each[0]) for each in shown], area)
    out.print(table)
    for metric, compared in paper.items():
        said = "no more than chance" if compared.agrees else "more than chance"
        text = f"{metric.replace('_', ' ')}: paper {compared.successes} of {compared.n}, ours {compared.ours.successes} of {compared.ours.n}"
        out.print(f"{text}; ours minus theirs {compared.low:+.3f} to {compared.high:+.3f}: {said}", soft_wrap=True)
    held = f"threshold set for {limit['nominal_false_positive_rate']:g} false positives on {limit['held_out']} other clean images"
    fooled = "; ".join(f"area on images whose attack worked, {row.source}: {_interval(row)}" for row in everything.where(metric="auc_fooled")[:-1])
    out.print(f"score: distance between the two probability vectors; {held}; {fooled}", soft_wrap=True, highlight=False)
    out.print(_breakdown(Rows(row for row in rows if row.source not in ("", joint))))
    out.print(_evasion(everything, joint))


def _rate(row: "Row") -> str:
    return f"{row.successes} of {row.n}: {_interval(row)}" if row.n else "-"


def _interval(row: "Row") -> str:
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" if row.n else "-"


def _breakdown(rows: "Rows") -> Table:
    table = Table("attacked", "attack", "eps", "attack worked", "true positives", "of images whose attack worked", title="Where the classes differ")
    for row in rows.where(metric="true_positive_rate"):
        if row.parameters["by"] == "all":
            continue
        same = [r for r in rows if r.source == row.source and r.attack == row.attack and r.parameters == row.parameters]
        others = [r for metric in ("source_fooled_rate", "true_positive_rate", "true_positive_rate_fooled") for r in same if r.metric == metric]
        bounds = f"{row.parameters['eps_low']:.2f} to {row.parameters['eps_high']:.2f}"
        table.add_row(row.source, row.attack, bounds, *map(_rate, others))
    return table


def _evasion(rows: "Rows", joint: str) -> Table:
    """Both name the same wrong class: by attackers who attack one network, and by one who attacks both."""
    table = Table("attacked", "same wrong class", "of images that both get right clean", title="What escapes an alarm where the classes differ")
    for row in rows.where(metric="undetected_error_rate"):
        evaded = rows.where(metric="evasion_rate", source=row.source)
        who = f"{row.source} (knows the detector)" if row.source == joint else row.source or "(clean)"
        table.add_row(who, _rate(row), _rate(evaded[0]) if evaded else "")
    return table
