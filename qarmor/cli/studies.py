"""``qarmor run``, ``status``, ``verify``, ``report`` and ``rows``: studies and their folders."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from qarmor.cli import progress
from qarmor.cli.app import app, check_device, out, usage

if TYPE_CHECKING:
    from qarmor.studies.run import Engine, Request

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `qarmor run`, `qarmor demo` or another verb wrote.")]


class EngineName(StrEnum):
    """Where tasks are done."""

    dask = "dask"
    inline = "inline"


class PresetName(StrEnum):
    """How much is done."""

    smoke = "smoke"
    quick = "quick"
    full = "full"


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise typer.BadParameter(f"--shard must be i/n with i from 1 to n, e.g. 1/4, got {text!r}")
    return int(number), int(of)


def finish(request: "Request", folder: Path, engine: "Engine", *, store: str = "store") -> int:
    """Run a study with progress, say what failed; returns the exit status."""
    from qarmor.studies import run as studies

    try:
        state = studies.run(request, folder, engine, progress.display, store=store)
    except KeyboardInterrupt:
        print("qarmor: stopped; what was finished is kept, run the same command again to go on", file=sys.stderr)
        raise typer.Exit(1) from None
    if state.failed:
        left = f", {len(state.left_out)} were left out, since they need what failed" if state.left_out else ""
        print(f"qarmor: {len(state.failed)} of {state.total} tasks failed{left}; the logs are in {folder / 'logs'}", file=sys.stderr)
    return 1 if state.failed else 0


def page(folder: Path) -> None:
    """Write the page of a study's folder, and say where it is."""
    from qarmor import report
    from qarmor.studies.store import in_words

    with in_words(folder):
        written = report.write(folder)
    out.print(f"Open {written.resolve()}", soft_wrap=True, markup=False, highlight=False)


@app.command("run")
def run_study(
    study: Annotated[str, typer.Argument(help="Name of a study that comes with QArmor (west2023, digits), or a TOML file.")],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; its name by default. Whatever is there is not made again.")
    ] = None,
    preset: Annotated[PresetName | None, typer.Option(help="How much: smoke, quick (the default, where the study has it) or full.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A section or a data set; may be given several times.")] = None,
    engine: Annotated[EngineName, typer.Option(help="dask: worker processes; inline: all in this process.")] = EngineName.dask,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default as many as cores and memory allow.", min=1)] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler, e.g. tcp://host:8786.")] = None,
    shard: Annotated[str | None, typer.Option(help="Do part i of n, e.g. 2/8, in this process, over a shared folder: for job arrays.")] = None,
    device: Annotated[str | None, typer.Option(help="Where to compute instead of where the study says (cpu, by default): e.g. cuda or mps.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the tasks, and what they will cost.")] = False,
) -> None:
    """Run a study: what is missing of it is made, and its page written. Kill it and run it again whenever you like."""
    from qarmor.studies import presets, spec
    from qarmor.studies import run as studies

    part = _shard(shard)
    chosen = preset.value if preset is not None else None
    resolved = usage(lambda: presets.resolve(spec.read(study), chosen, study))
    if device is not None:
        check_device(device)
        resolved = resolved.model_copy(update={"device": device})
    name = Path(study).stem if Path(study).is_file() else study
    label = chosen or ("quick" if "quick" in resolved.presets else None)
    request = studies.Request(name, resolved, label, tuple(only or ()), " ".join(map(shlex.quote, ["qarmor", *sys.argv[1:]])))
    usage(lambda: studies.selected(request))
    folder = out_dir or Path(name)
    if dry_run:
        _dry_run(request, folder, workers)
        return
    if (engine is EngineName.inline or part) and (scheduler or workers):
        raise typer.BadParameter("--scheduler and --workers are for Dask: leave out --engine inline and --shard")
    check_device(resolved.device, "device")
    options = studies.Engine(engine.value, scheduler, workers, part)
    status = usage(lambda: finish(request, folder, options), spec.SpecError)
    page(folder)
    raise typer.Exit(status)


def _dry_run(request: "Request", folder: Path, workers: int | None) -> None:
    from qarmor.studies import cluster, spec
    from qarmor.studies import run as studies
    from qarmor.studies.store import Store

    plans = usage(lambda: studies.plans(request), spec.SpecError)
    tasks = studies.wanted(request, plans)
    store = Store(folder / "store")
    there = {key for key in tasks if store.has(key)}
    table = Table("task", "kind", "key", "about", "memory", "", title=f"{request.name}: {len(tasks)} tasks, {len(there)} of them are there")
    for key, task in tasks.items():
        size = f"{task.memory / 2**20:.0f} MB" if task.memory else ""
        table.add_row(task.label, task.kind, key[:12], progress.duration(task.seconds), size, "there" if key in there else "")
    out.print(table)
    rest = [task for key, task in tasks.items() if key not in there]
    memory = max((task.memory for task in rest), default=0)
    number = workers or cluster.local_workers(request.study.threads, memory)
    total = sum(task.seconds for task in rest)
    longest = max((task.seconds for task in rest), default=0.0)
    out.print(
        f"{len(rest)} tasks to do: about {progress.duration(total)} of one core as measured on an AMD EPYC (Zen 4); on {number} workers of "
        f"{request.study.threads} thread here about {progress.duration(max(total / number, longest))}, each with up to {memory / 2**20:.0f} MB.",
        soft_wrap=True,
        highlight=False,
    )


@app.command()
def status(folder: FolderArgument) -> None:
    """How far a study is: tasks by data set and kind, what is being done, what failed."""
    from qarmor.studies import folder as folders

    opened = folders.read(folder)
    store = opened.store
    table = Table(
        "data set", "kind", "done", "of", "about left", title=f"{opened.asked.name}{f', {opened.asked.preset}' if opened.asked.preset else ''}"
    )
    for plan in opened.plans:
        for kind in dict.fromkeys(task.kind for task in plan.tasks.values()):
            tasks = [task for task in plan.tasks.values() if task.kind == kind]
            missing = [task for task in tasks if not store.has(task.key)]
            left = progress.duration(sum(task.seconds for task in missing)) if missing else ""
            table.add_row(plan.dataset, kind, str(len(tasks) - len(missing)), str(len(tasks)), left)
    out.print(table)
    labels = {key: task.label for plan in opened.plans for key, task in plan.tasks.items()}
    for path in sorted((store.root / "work").glob("*.progress")):
        if store.busy(path.stem):
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:  # finished in this moment
                continue
            words = f", {said['text']}" if said["text"] != "starting" else ""
            out.print(f"being done: {said['label']}, {100 * said['fraction']:.0f} %{words}", soft_wrap=True, markup=False, highlight=False)
    for path in sorted((folder / "logs").glob("*.log")):
        key = next((key for key in labels if key.startswith(path.stem)), "")
        if key and not store.has(key):
            out.print(f"failed: {': '.join(path.read_text(encoding='utf-8').splitlines()[:2])} (log: {path})", soft_wrap=True, markup=False)


@app.command()
def verify(folder: FolderArgument) -> None:
    """Check every artefact's sums, and recompute every row from the stored images and weights."""
    from qarmor.studies import folder as folders
    from qarmor.studies import verify as verifying

    opened = folders.read(folder)
    found = verifying.verify(opened, lambda done, total, text: _tell(done, total, text))
    for problem in found.problems:
        print(f"qarmor: {problem}", file=sys.stderr)
    counts = f"{found.artefacts} artefacts checked, {found.rows} rows recomputed, {found.crafted} sets of stored images looked at"
    rest = f"; {found.unfinished} tasks are not finished" if found.unfinished else ""
    out.print(f"{counts}: {len(found.problems) or 'no'} problems{rest}", soft_wrap=True)
    raise typer.Exit(1 if found.problems else 0)


def _tell(done: int, total: int, text: str) -> None:
    if done * 10 // total > (done - 1) * 10 // total and (total > 100 or done == total):
        print(f"{done}/{total} {text}", file=sys.stderr, flush=True)


@app.command()
def report(folder: FolderArgument) -> None:
    """Gather what a study has found so far and write its page."""
    from qarmor.studies import collect
    from qarmor.studies import folder as folders

    collect.collect(folders.read(folder), {})
    page(folder)


@app.command()
def rows(
    folder: FolderArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, all fields.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, all fields.")] = False,
) -> None:
    """Print every row of a study, sorted; without times, so that equal runs print the same."""
    from qarmor.studies import collect
    from qarmor.studies import folder as folders

    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    opened = folders.read(folder)
    found = collect.rows(opened, collect.done(opened))
    if as_json:
        sys.stdout.write(found.to_json() + "\n")
    elif as_csv:
        sys.stdout.write(found.to_csv())
    else:
        table = Table("data set", "attacked", "judged", "attack", "eps", "metric", "value", "95 % interval", "n", "flags")
        for row in found:
            loss = row.parameters.get("loss")
            attack = f"{row.attack} ({loss})" if loss else row.attack or "(clean)"
            interval = f"{row.low:.3f} to {row.high:.3f}"
            eps = "" if row.eps is None else f"{row.eps:g}"
            table.add_row(
                row.dataset, row.source, row.target, attack, eps, row.metric, f"{row.value:.3f}", interval, str(row.n), ", ".join(row.flags)
            )
        out.print(table)


@app.command()
def export(
    folder: FolderArgument,
    target: Annotated[Path, typer.Argument(help="Folder to write into.")],
    figure: Annotated[list[str] | None, typer.Option(help="Which figures, e.g. 'fig2_*'; may be given several times; all by default.")] = None,
    weights: Annotated[bool, typer.Option(help="Write the weights of quantum networks, too.")] = True,
) -> None:
    """Write what is small enough for version control: rows, networks, claims, figures, weights of quantum networks."""
    from qarmor.studies import collect
    from qarmor.studies import export as exporting
    from qarmor.studies import folder as folders

    opened = folders.read(folder)
    collect.collect(opened, {})
    page(folder)
    exporting.export(opened, target, list(figure or ()), weights=weights)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    out.print(f"{target}: {size / 2**20:.2f} MB", soft_wrap=True, markup=False, highlight=False)
