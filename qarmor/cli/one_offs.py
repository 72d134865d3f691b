"""``qarmor demo``, ``train``, ``attack`` and ``transfer``: studies of one or a few tasks, kept in a store like any other."""

import dataclasses
import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qarmor.cli.app import MODEL_HELP, DatasetArgument, DeviceOption, SeedOption, ThreadsOption, app, check_device, out, saved_label, usage
from qarmor.cli.studies import finish, page

if TYPE_CHECKING:
    from qarmor.studies.folder import Folder
    from qarmor.types import Row, Rows

KeepOption = Annotated[Path, typer.Option("--keep", help="Folder where results are kept: what is in it is not made again.")]
_ATTACK_HELP = "pgd, fgsm, apgd, apgd-t, fab, fab-t, square, autoattack (the suite that the classes allow), or package.module:factory."
# cheap ones: a training makes thousands
_TRAINING: dict[str, dict[str, Any]] = {"pgd": {"steps": 3, "random_start": False}, "autoattack": {"version": "light"}}
_KEEP = Path("qarmor-results")


def _run(name: str, title: str, study: dict[str, Any], keep: Path) -> "Folder":
    """Run a study made of arguments; its folder lies in ``keep``, whose store all of them share.

    Raises:
        typer.Exit: something failed.
    """
    from qarmor.studies import folder as folders
    from qarmor.studies import run as studies
    from qarmor.studies import spec

    made = usage(lambda: spec.from_mapping({"title": title, **study}, ""))
    command = " ".join(map(shlex.quote, ["qarmor", *sys.argv[1:]]))
    folder = keep / name
    engine = studies.Engine("inline")
    request = studies.Request("", made, command=command)
    if usage(lambda: finish(request, folder, engine, store="../store"), spec.SpecError):
        raise typer.Exit(1)
    return folders.read(folder)


def _slug(*parts: str) -> str:
    """A folder's name for a study: readable, and different for different arguments."""
    from qarmor.studies.store import digest

    plain = "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in Path(part).name) for part in parts[:3])
    return f"{plain[:60]}-{digest(list(parts))[:8]}"


def _rows(opened: "Folder") -> "Rows":
    from qarmor.studies import collect

    return collect.rows(opened, collect.done(opened))


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the page and its data.")] = Path("qarmor-demo"), seed: SeedOption = 0
) -> None:
    """Train and attack networks on the embedded digits; about a minute, then open index.html in the folder."""
    from qarmor.studies import run as studies
    from qarmor.studies import spec
    from qarmor.types import Rows

    study = spec.read("digits").model_copy(update={"seeds": [seed], "image_seed": seed})
    command = "qarmor demo" + (f" --out {shlex.quote(str(out_dir))}" if out_dir != Path("qarmor-demo") else "") + (f" --seed {seed}" if seed else "")
    status = finish(studies.Request("digits", study, command=command), out_dir, studies.Engine("inline"))
    rows = Rows.from_json((out_dir / "rows.json").read_text(encoding="utf-8"))
    if status:
        page(out_dir)
        raise typer.Exit(status)
    margin = Rows(row for row in rows if row.parameters.get("loss") == "margin" and row.eps == 0.1)
    _print_transfer(rows.where(source="", n=max(row.n for row in rows.where(source=""))), margin)
    page(out_dir)
    raise typer.Exit(status)


def _print_transfer(clean: "Rows", attacked: "Rows") -> None:
    """Accuracy of every target, clean and under one attack at one eps on each source."""
    accuracies = attacked.where(metric="accuracy")
    targets = list(dict.fromkeys(row.target for row in clean))
    first = accuracies[0]
    loss = first.parameters.get("loss")
    kind = f"{first.attack} ({loss})" if loss else first.attack
    table = Table("attacked \\ judged", *targets, title=f"Accuracy under {kind} at eps {first.eps:g} on {first.n} images of {first.dataset}")
    table.add_row("(clean)", *[_value(clean.where(target=target)) for target in targets])
    for source in dict.fromkeys(row.source for row in accuracies):
        table.add_row(source, *[_value(accuracies.where(source=source, target=target)) for target in targets])
    out.print(table)


def _value(rows: "Rows") -> str:
    return f"{rows[0].value:.3f}{'*' if rows[0].flags else ''}" if rows else "-"


@app.command()
def train(
    dataset: DatasetArgument,
    network: Annotated[
        str, typer.Argument(help="qvcN (N layers, e.g. qvc200), convnet, resnet18, linear, quadratic, mlp or package.module:factory.")
    ],
    recipe: Annotated[str | None, typer.Option(help="QVCs: tuned, paper or bare. By default tuned, or the network's own.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, instead of the recipe's.", min=1)] = None,
    adversarial: Annotated[
        str | None, typer.Option(help="Train on this attack: pgd (3 steps), fgsm, autoattack (version light), ... (needs --eps).")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="Radius of --adversarial in units of the pixel range.", min=0, max=1)] = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="File to write; DATASET-NETWORK.safetensors by default.")] = None,
    keep: KeepOption = _KEEP,
) -> None:
    """Train a network and save it; a killed training goes on where it was, a finished one is not repeated."""
    from qarmor import training

    check_device(device)
    usage(lambda: training.recipe_for(network, recipe))
    if (adversarial is None) != (eps is None):
        raise typer.BadParameter("--adversarial and --eps go together")
    entry: dict[str, Any] = {"network": network}
    entry |= {key: value for key, value in (("recipe", recipe), ("epochs", epochs)) if value is not None}
    attacks: dict[str, Any] = {}
    if adversarial is not None:
        attacks = {"training": {"attack": adversarial, **_TRAINING.get(adversarial, {})}}
        entry["adversarial"] = {"attack": "training", "eps": eps}
    label = network.replace("/", "-")
    study = {
        "datasets": {_label(dataset): {"source": dataset}},
        "networks": {label: entry},
        "attacks": attacks,
        "seeds": [seed],
        "threads": threads,
        "device": device,
        "sections": {
            "training": {"kind": "training", "title": "Loss and accuracy during training", "networks": [label]},
            "clean": {"kind": "clean", "title": "Accuracy on clean test images", "networks": [label]},
        },
    }
    name = _slug("train", _label(dataset), label, json.dumps([dataset, entry, attacks, seed, threads, device], sort_keys=True))
    opened = _run(name, f"{network} on {dataset}", study, keep)
    file = out_file or Path(f"{Path(_label(dataset)).stem}-{network}.safetensors")
    _save_trained(opened, network, dataset, file, device)


def _save_trained(opened: "Folder", network: str, dataset: str, file: Path, device: str) -> None:
    """Say how accurate the network of a study with one training is, and save it with its history, if it is one of ours."""
    from qarmor import circuits, models
    from qarmor.studies.export import save_network

    task = next(task for plan in opened.plans for task in plan.tasks.values() if task.kind == "train")
    row = _rows(opened).where(metric="accuracy")[0]
    made = opened.store.folder(task.key)
    said = f"recipe {task.context['recipe']}, epochs {task.spec['recipe']['epochs']}, seed {task.spec['seed']}"
    accuracy = f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}] on {row.n} test images (majority class {row.majority:.3f})"
    out.print(f"{network} on {dataset}, {said}: accuracy {accuracy}", soft_wrap=True)
    if not (made / "network.safetensors").exists():
        out.print(f"kept in {made} (a network of your own: name it in a study, or train it with qarmor.fit)", soft_wrap=True, markup=False)
        return
    save_network(opened.store, task, file, dataset=dataset, accuracy=row.value)
    curve = file.with_suffix(".history.json")
    curve.write_text((made / "history.json").read_text(encoding="utf-8"), encoding="utf-8")
    if models.inspect(file).architecture == "QVC":
        import torch

        out.print(f"circuit kernel: {circuits.choose(torch.float32, device)}", soft_wrap=True, markup=False, highlight=False)
    out.print(f"saved in {file}, loss and accuracy against steps in {curve}", soft_wrap=True, markup=False, highlight=False)


def _label(dataset: str) -> str:
    """A data set's name in rows: a path and a factory have characters that a name cannot have."""
    return Path(dataset).name.replace("|", "-") if dataset.endswith(".npz") else dataset.replace("/", "-").replace("|", "-")


@app.command()
def attack(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    dataset: DatasetArgument,
    attack_name: Annotated[str, typer.Option("--attack", help=_ATTACK_HELP)] = "pgd",
    eps: Annotated[list[float] | None, typer.Option(help="Radius in units of the pixel range; may be given several times. 0.1 by default.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="ce, margin or dlr, where there is a choice. By default ce and margin, since ce also measures the logits' scale."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a gradient attack.", min=1)] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of PGD, APGD, FAB or Square.", min=1)] = None,
    images: Annotated[int, typer.Option(help="Test images, drawn with the seed.", min=1)] = 250,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows there, as JSON.")] = None,
    keep: KeepOption = _KEEP,
) -> None:
    """Attack a network on test images and say how accurate it stays."""
    check_device(device)
    attacks = _attacks(attack_name, loss, steps, restarts)
    grid = _grid(eps)
    name = saved_label(model)
    study = {
        "datasets": {_label(dataset): {"source": dataset}},
        "networks": {name: {"model": model}},
        "attacks": attacks,
        "seeds": [seed],
        "image_seed": seed,
        "threads": threads,
        "device": device,
        "sections": {"attack": {"kind": "transfer", "title": f"Attacks on {name}", **_crossing([name], [name], attacks, grid, images)}},
    }
    folder = _slug("attack", _label(dataset), name, json.dumps([model, dataset, attacks, grid, images, seed, threads, device], sort_keys=True))
    rows = _rows(_run(folder, f"Attacks on {name}", study, keep))
    shown = _unseeded(rows, name)
    _print_attack(shown)
    _write(out_file, shown)


def _unseeded(rows: "Rows", name: str) -> "Rows":
    """A ready-made network has no seed: only the attack has."""
    from qarmor.types import Rows

    return Rows(dataclasses.replace(row, source=row.source and name, target=name) for row in rows)


def _attacks(name: str, loss: str | None, steps: int | None, restarts: int | None) -> dict[str, Any]:
    """Attacks for a study: without ``loss`` both on the cross-entropy and on the margin, if there is a choice. Wrong ones are refused first."""
    from qarmor import attacks

    both = loss is None and ":" not in name and usage(lambda: attacks.build(name)).parameters.get("loss") == "ce"
    losses = ["ce", "margin"] if both else [loss]
    found = {}
    for each in losses:
        options = {k: v for k, v in {"loss": each, "steps": steps, "restarts": restarts}.items() if v is not None}
        usage(lambda options=options: attacks.build(name, **options))  # type: ignore[misc]
        found[f"{name.replace('/', '-')}-{each}" if each else name] = {"attack": name, **options}
    return found


def _grid(eps: list[float] | None) -> list[float]:
    grid = sorted({0.1} if not eps else set(eps))
    if not all(math.isfinite(e) and 0 <= e <= 1 for e in grid):
        raise typer.BadParameter(f"--eps must be between 0 and 1, in units of the pixel range, got {', '.join(map(str, grid))}")
    return grid


def _crossing(sources: list[str], targets: list[str], attacks: dict[str, Any], grid: list[float], images: int) -> dict[str, Any]:
    return {"sources": sources, "targets": targets, "attacks": list(attacks), "eps": grid, "images": images}


def _write(out_file: Path | None, rows: "Rows") -> None:
    if out_file is not None:
        out_file.parent.mkdir(parents=True, exist_ok=True)
        out_file.write_text(rows.to_json(), encoding="utf-8")


@app.command()
def transfer(
    dataset: DatasetArgument,
    networks: Annotated[
        str, typer.Option(help="Networks, separated by commas: architectures (qvc200, convnet …), trained here, or saved ones as in `qarmor attack`.")
    ],
    sources: Annotated[str | None, typer.Option(help="Those that are attacked, by default all.")] = None,
    attack_name: Annotated[str, typer.Option("--attack", help=_ATTACK_HELP)] = "pgd",
    eps: Annotated[list[float] | None, typer.Option(help="Radius in units of the pixel range; may be given several times. 0.1 by default.")] = None,
    loss: Annotated[str | None, typer.Option(help="ce, margin or dlr; by default margin.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a gradient attack.", min=1)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, instead of the recipes'.", min=1)] = None,
    images: Annotated[int, typer.Option(help="Test images, drawn with the seed.", min=1)] = 250,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows there, as JSON.")] = None,
    keep: KeepOption = _KEEP,
) -> None:
    """Craft attacks on each source and judge all networks on the outcome."""
    from qarmor.models.shipped import is_saved

    check_device(device)
    named = list(dict.fromkeys(filter(None, networks.split(","))))
    saved = {each for each in named if is_saved(each)}
    labels = {each: saved_label(each) if each in saved else each.replace("/", "-") for each in named}
    if len(set(labels.values())) < len(labels):
        raise typer.BadParameter(f"--networks {networks}: two of them have the same name in rows; rename a file")
    attacked = named if sources is None else list(dict.fromkeys(filter(None, sources.split(","))))
    for each in attacked:
        if each not in labels:
            raise typer.BadParameter(f"--sources {each}: not among --networks ({networks})")
    attacks = _attacks(attack_name, loss or ("margin" if ":" not in attack_name else None), steps, None)
    grid = _grid(eps)
    extra = {"epochs": epochs} if epochs is not None else {}
    entries: dict[str, Any] = {labels[e]: {"model": e} if e in saved else {"network": e, **extra} for e in named}
    crossing = _crossing([labels[e] for e in attacked], list(entries), attacks, grid, images)
    study = {
        "datasets": {_label(dataset): {"source": dataset}},
        "networks": entries,
        "attacks": attacks,
        "seeds": [seed],
        "image_seed": seed,
        "threads": threads,
        "device": device,
        "sections": {"transfer": {"kind": "transfer", "title": "Accuracy under attacks crafted on each source", **crossing}},
    }
    folder = _slug("transfer", _label(dataset), "-".join(entries), json.dumps([entries, crossing, seed, threads, device, dataset], sort_keys=True))
    rows = _rows(_run(folder, f"Transfer on {dataset}", study, keep))
    for radius in grid:
        for name in dict.fromkeys(row.attack for row in rows if row.source):
            _print_transfer(rows.where(source=""), rows.where(attack=name, eps=radius))
    if any(row.flags for row in rows):
        out.print("* flagged: " + ", ".join(sorted({flag for row in rows for flag in row.flags})), soft_wrap=True)
    _write(out_file, rows)


def _print_attack(rows: "Rows") -> None:
    first = rows[0]
    table = Table("attack", "eps", "accuracy", "95 % interval", "fooled", "flags", title=f"{first.target} on {first.n} images of {first.dataset}")
    for row in rows.where(metric="accuracy"):
        if not row.attack:
            table.add_row("(clean)", "", f"{row.value:.3f}", f"{row.low:.3f} to {row.high:.3f}", "", ", ".join(row.flags))
            continue
        table.add_row(_kind(row), f"{row.eps:g}", f"{row.value:.3f}", f"{row.low:.3f} to {row.high:.3f}", _fooled(rows, row), ", ".join(row.flags))
    out.print(table)
    out.print(f"Always naming the commonest class is right on {first.majority:.3f}.")


def _kind(row: "Row") -> str:
    loss = row.parameters.get("loss")
    return f"{row.attack} ({loss})" if loss else row.attack


def _fooled(rows: "Rows", row: "Row") -> str:
    fooled = rows.where(metric="fooling_rate", attack=row.attack, parameters=row.parameters, eps=row.eps)[0]
    return f"{fooled.value:.3f} of {fooled.n}" if fooled.n else "-"
