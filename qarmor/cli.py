"""The command line. Verbs are thin: each parses its arguments, calls the library, and prints.

Exit status 0 done, 1 failed, 2 wrong usage. An error is one line on stderr; ``--debug`` shows where it came from. torch is imported inside the
verbs, so that ``--help`` is quick.
"""

import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.exceptions import Abort, TyperException

from qarmor import __version__

if TYPE_CHECKING:
    from torch import nn

    from qarmor.types import Attack, Dataset, Rows

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, fetch and check data sets.")
app.add_typer(data_app, name="data")

out = Console()
progress_console = Console(stderr=True)
T = TypeVar("T")

DatasetArgument = Annotated[str, typer.Argument(help="Name of a data set (`qarmor data list`), path of an .npz file, or package.module:factory.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
ThreadsOption = Annotated[int, typer.Option(help="Threads of torch. Part of the recipe: its sums, and so the last digits, depend on them.", min=1)]
DeviceOption = Annotated[str, typer.Option(help="Where to compute, e.g. cpu, cuda or mps.")]


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _note
    logging.basicConfig(format="qarmor: %(message)s")
    logging.getLogger("qarmor").setLevel(logging.INFO)
    debug = "--debug" in sys.argv[1:]
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    sys.exit(run(arguments, debug=debug))


def _note(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None) -> None:
    print(f"qarmor: note: {message}", file=sys.stderr)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command; returns the exit status. With ``debug``, failures are raised instead of reported."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="qarmor", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except TyperException as error:
        text = " ".join(error.format_message().split())
        if text:  # without arguments the help has been printed
            print(f"qarmor: {text} (see --help)", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        print("qarmor: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"qarmor: {text}", file=sys.stderr)
        return 1


def _usage(make: Callable[[], T]) -> T:
    """What ``make`` returns; a ValueError is wrong usage (exit status 2)."""
    try:
        return make()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A progress bar with the time left: ``say(text, fraction done)``. On a pipe, one line a tenth."""
    if not progress_console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, fraction: bar.update(task, description=text, completed=fraction)


def _lines() -> Callable[[str, float], None]:
    began, last = time.monotonic(), -1

    def say(text: str, fraction: float) -> None:
        nonlocal last
        tenth = math.floor(10 * fraction)
        if tenth > last:
            last = tenth
            left = f", {(time.monotonic() - began) * (1 - fraction) / fraction:.0f} s left" if fraction > 0.05 else ""
            print(f"{100 * fraction:3.0f}% {text}{left}", file=sys.stderr, flush=True)

    return say


def _load(name: str) -> "Dataset":
    from qarmor import data

    return data.load(name)


def _device(name: str) -> Any:
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(f"--device {name}: not available here: {str(error).splitlines()[0]}") from error
    return torch.device(name)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"qarmor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Train quantum and classical image classifiers, attack them, and see how far their robustness goes."""


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the page and its data.")] = Path("qarmor-demo"),
    seed: SeedOption = 0,
) -> None:
    """Train and attack networks on the embedded digits; about a minute, then open index.html in the folder."""
    from qarmor.studies import demo as study

    command = "qarmor demo" + (f" --out {out_dir}" if out_dir != Path("qarmor-demo") else "") + (f" --seed {seed}" if seed else "")
    with _progress() as say:
        page = study.run(out_dir, seed=seed, command=command, say=say)
    _print_transfer(page.parent / "rows.json")
    out.print(f"Open {page.resolve()}", soft_wrap=True, markup=False, highlight=False)


def _print_transfer(path: Path) -> None:
    """Accuracy of every target under every source's attack, PGD on the margin at eps 0.1."""
    from qarmor.types import Rows

    rows = Rows.from_json(path.read_text()).where(metric="accuracy")
    attacked = Rows(r for r in rows if r.eps == 0.1 and r.attack == "pgd" and r.parameters.get("loss") == "margin")
    targets = list(dict.fromkeys(r.target for r in attacked))
    table = Table("attacked \\ judged", *targets, title="Accuracy: clean, then under PGD on the margin at eps 0.1 crafted on each network")
    table.add_row("(clean)", *[f"{rows.where(source='', target=t)[0].value:.3f}" for t in targets])
    for source in dict.fromkeys(r.source for r in attacked):
        table.add_row(source, *[f"{attacked.where(source=source, target=t)[0].value:.3f}" for t in targets])
    out.print(table)


@data_app.command("list")
def data_list() -> None:
    """Data sets by name, and whether they are here."""
    from qarmor import data

    table = Table("name", "shape", "classes", "here", "folder", "source")
    for entry in data.describe():
        table.add_row(entry.name, entry.shape, str(len(entry.classes)), "yes" if entry.present else "no", str(entry.folder or "-"), entry.source)
    out.print(table)


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="Name of a data set.")]) -> None:
    """Download a data set into $QARMOR_DATA or the user's cache, and check its hash."""
    from qarmor import data

    out.print(f"{name} is in {data.fetch(name)}", soft_wrap=True, markup=False, highlight=False)


@data_app.command("check")
def data_check(name: DatasetArgument) -> None:
    """Read a data set whole; say what is in it, and whether its files are the official ones."""
    from qarmor import data

    report = data.check(name)
    shape = "x".join(map(str, report.shape))
    out.print(f"{name}: {report.train} training and {report.test} test images, {shape}; majority class {report.majority:.3f} of test")
    table = Table("class", "train", "test")
    for row in report.counts:
        table.add_row(*map(str, row))
    out.print(table)
    for file in report.files:
        out.print(f"{file.sha256}  {file.name}  {file.verdict}", soft_wrap=True, markup=False, highlight=False)


def _attack(name: str, loss: str | None, steps: int | None, restarts: int | None) -> "Attack":
    from qarmor import attacks

    options = {"loss": loss, "steps": steps, "restarts": restarts}
    return _usage(lambda: attacks.build(name, **{k: v for k, v in options.items() if v is not None}))


@app.command()
def train(
    dataset: DatasetArgument,
    network: Annotated[
        str, typer.Argument(help="qvcN (N layers, e.g. qvc200), convnet, resnet18, linear, quadratic or mlp. Your own: qarmor.fit, in Python.")
    ],
    recipe: Annotated[str | None, typer.Option(help="QVCs: tuned, paper or bare. By default tuned, or the network's own.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, instead of the recipe's.", min=1)] = None,
    adversarial: Annotated[str | None, typer.Option(help="Train on this attack, e.g. pgd or fgsm (needs --eps).")] = None,
    eps: Annotated[float | None, typer.Option(help="Radius of --adversarial in units of the pixel range.", min=0, max=1)] = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="File to write; DATASET-NETWORK.safetensors by default.")] = None,
) -> None:
    """Train a network and save it; a killed training goes on where it was."""
    import dataclasses
    import json

    from qarmor import circuits, evaluation, models, training
    from qarmor.studies.threads import pinned

    where = _device(device)
    plan = _usage(lambda: training.recipe_for(network, recipe))
    if (adversarial is None) != (eps is None):
        raise typer.BadParameter("--adversarial and --eps go together")
    if adversarial is not None and eps is not None:
        attack = _attack(adversarial, None, 3 if adversarial == "pgd" else None, None)
        plan = dataclasses.replace(plan, adversarial=training.Adversarial(attack, eps))
    if epochs is not None:
        plan = dataclasses.replace(plan, epochs=epochs)
    data = _load(dataset)
    model = _usage(lambda: models.build(network, data, seed=seed, **plan.network)).to(where)
    models.savable(model)  # before hours of training, not after
    file = out_file or Path(f"{Path(data.name).stem}-{network}.safetensors")
    checkpoint = file.with_name(f"{file.name}.checkpoint")
    with _progress() as say, pinned(threads):

        def told(p: training.Progress) -> None:
            say(f"epoch {p.epoch}/{p.epochs}, loss {p.loss:.3f}, accuracy {p.accuracy:.3f}", p.step / p.steps)

        watched = data.test.subset(min(250, len(data.test)), seed)
        history = training.fit(model, data.train, plan, validation=watched, seed=seed, checkpoint=checkpoint, on_progress=told)
    row = evaluation.clean({network: model}, data.test)[0]
    models.save(model, file, recipe=plan.record(), dataset=data.name, seed=seed, accuracy=row.value, threads=threads)
    curve = file.with_suffix(".history.json")
    curve.write_text(json.dumps(dataclasses.asdict(history), indent=1))
    checkpoint.unlink(missing_ok=True)
    out.print(
        f"{network} on {data.name}, recipe {plan.name}, epochs {plan.epochs}, seed {seed}: accuracy {row.value:.4f} "
        f"[{row.low:.4f}, {row.high:.4f}] on {row.n} test images (majority class {row.majority:.3f})",
        soft_wrap=True,
    )
    if isinstance(model, models.QVC):
        out.print(f"circuit kernel: {circuits.choose(model.weights.dtype, where)}", soft_wrap=True, markup=False, highlight=False)
    out.print(f"saved in {file}, loss and accuracy against steps in {curve}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def attack(
    model: Annotated[str, typer.Argument(help="A .safetensors file that `qarmor train` wrote, or package.module:factory.")],
    dataset: DatasetArgument,
    attack_name: Annotated[str, typer.Option("--attack", help="pgd, fgsm, or package.module:factory.")] = "pgd",
    eps: Annotated[list[float] | None, typer.Option(help="Radius in units of the pixel range; may be given several times. 0.1 by default.")] = None,
    loss: Annotated[str | None, typer.Option(help="ce, margin or dlr. By default ce and margin, since ce also measures the logits' scale.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of PGD.", min=1)] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of PGD.", min=1)] = None,
    images: Annotated[int, typer.Option(help="Test images, drawn with the seed.", min=1)] = 250,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows there, as JSON.")] = None,
) -> None:
    """Attack a network on test images and say how accurate it stays."""
    from qarmor import evaluation, models
    from qarmor.studies.threads import pinned
    from qarmor.types import Rows

    where = _device(device)
    ours = ":" not in attack_name
    losses = [loss] if loss or not ours else ["ce", "margin"]
    chosen = [_attack(attack_name, each, steps, restarts) for each in losses]
    grid = sorted({0.1} if not eps else set(eps))
    if not all(math.isfinite(e) and 0 <= e <= 1 for e in grid):
        raise typer.BadParameter(f"--eps must be between 0 and 1, in units of the pixel range, got {', '.join(map(str, grid))}")
    network: nn.Module = models.load(model).to(where)
    data = _load(dataset)
    test = data.test.subset(min(images, len(data.test)), seed).to(where)
    name = Path(model).stem if ours and ":" not in model else model
    rows = Rows()
    with _progress() as say, pinned(threads):
        for number, each in enumerate(chosen):

            def told(done: int, total: int, text: str, number: int = number) -> None:
                say(text, (number + done / total) / len(chosen))

            more = evaluation.transfer({name: network}, {name: network}, test, each, grid, seed, on_progress=told)
            rows = rows + (row for row in more if number == 0 or row.attack)
    rows = evaluation.flag(rows)
    _print_rows(rows)
    if out_file is not None:
        out_file.parent.mkdir(parents=True, exist_ok=True)
        out_file.write_text(rows.to_json())


def _print_rows(rows: "Rows") -> None:
    first = rows[0]
    table = Table("attack", "eps", "accuracy", "95 % interval", "fooled", "flags", title=f"{first.target} on {first.n} images of {first.dataset}")
    for row in rows.where(metric="accuracy"):
        if not row.attack:
            table.add_row("(clean)", "", f"{row.value:.3f}", f"{row.low:.3f} to {row.high:.3f}", "", ", ".join(row.flags))
            continue
        fooled = rows.where(metric="fooling_rate", attack=row.attack, parameters=row.parameters, eps=row.eps)[0]
        loss = row.parameters.get("loss")
        kind = f"{row.attack} ({loss})" if loss else row.attack
        share = f"{fooled.value:.3f} of {fooled.n}" if fooled.n else "-"
        table.add_row(kind, f"{row.eps:g}", f"{row.value:.3f}", f"{row.low:.3f} to {row.high:.3f}", share, ", ".join(row.flags))
    out.print(table)
    out.print(f"Always naming the commonest class is right on {first.majority:.3f}.")
