"""Where the time of a study goes, and of training, attacking and judging a QVC: what is not spent in the kernels ought to be little.

    python benchmarks/studies.py [--study digits] [--short] [--only SECTION ...] [--layers 200] [--images 1024] [--rounds 3] [--out FOLDER]

Kernels are the circuit forward and adjoint, freezing, the frozen circuit's products with their gradients, and forward and backward passes of the
classical networks. Every moment belongs to one name, the innermost that was entered; so the names of a case sum up to its wall time. A study runs
inline, in a new process and a new folder; its start-up is that process's, and loading the compiled kernel. The other cases are ``training.fit`` of
one epoch, ``evaluation.craft`` (PGD of 40 steps on the frozen QVC) and ``evaluation.score``, on random images of MNIST's shape.
"""

import argparse
import functools
import itertools
import multiprocessing
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import measure
import torch

from qarmor import attacks, evaluation, models, report, training
from qarmor.attacks.base import Ball, BaseAttack, Best
from qarmor.attacks.streams import Streams
from qarmor.circuits import dense
from qarmor.circuits.cpu import kernel
from qarmor.models import qvc
from qarmor.studies import collect, folder, plan, presets, run, spec
from qarmor.studies.store import Store
from qarmor.studies.tasks import execute
from qarmor.types import Images

CIRCUIT, FROZEN, CLASSICAL = "circuit", "frozen circuit", "classical networks"
KERNELS = (CIRCUIT, FROZEN, CLASSICAL)
PLANNING, STARTING, OTHER = "planning", "start-up", "the rest"
COLUMNS = ("case", "seconds", "kernels", "not_kernels")
PARTS = ("case", "part", "seconds", "share", "times")

# Whose time goes by which name, beside kernels.
NAMED: Sequence[tuple[Any, str, str]] = [
    (plan, "make", PLANNING),
    (folder, "write", PLANNING),
    (kernel, "kernels", STARTING),
    (collect, "collect", "collecting"),
    (report, "write", "page"),
    *((Store, name, "store") for name in ("create", "write", "check", "sound", "has", "note")),
    (torch.autograd, "grad", "autograd around kernels"),
    (torch.autograd, "backward", "autograd around kernels"),
    (torch.optim.Adam, "step", "optimiser"),
    (qvc, "embed", "encoding of images"),
    (qvc, "l2_normalised", "encoding of images"),
    (BaseAttack, "__call__", "attack: the rest"),
    (Ball, "around", "attack: bounds"),
    (Ball, "project", "attack: projection"),
    (Best, "update", "attack: best image"),
    (Streams, "uniform", "attack: random start"),
]


class Clock:
    """Seconds by name. A name entered inside another stops the other's time until it is left."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.times: Counter[str] = Counter()
        self.names = [OTHER]
        self._since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self.names[-1]] += now - self._since
        self._since = now

    def enter(self, name: str) -> None:
        """From now on, time is ``name``'s."""
        self._charge()
        self.names.append(name)
        self.times[name] += 1

    def leave(self, depth: int) -> None:
        """Back to the name at ``depth``, counted from 1."""
        self._charge()
        del self.names[depth:]

    def stop(self) -> None:
        """Charge what has passed."""
        self._charge()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time inside is ``name``'s."""
        depth = len(self.names)
        self.enter(name)
        try:
            yield
        finally:
            self.leave(depth)


def _named(clock: Clock, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        if name in KERNELS and PLANNING in clock.names:  # planning runs networks without numbers, to see their shapes
            return function(*args, **kwargs)
        with clock.span(name):
            return function(*args, **kwargs)

    return timed


def _with_backward(clock: Clock, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``function``, whose first tensor is ``name``'s input: also its backward pass, from its output's gradient to that of its input.

    Where the input needs no gradient, the backward pass ends with the call of autograd, which closes whatever is open.
    """
    forward = _named(clock, function, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        inside: list[int] = []

        def begin(grad: torch.Tensor) -> None:
            inside.append(len(clock.names))
            clock.enter(name)

        def end(grad: torch.Tensor) -> None:
            if inside:
                clock.leave(inside.pop())

        if out.requires_grad and PLANNING not in clock.names:
            out.register_hook(begin)  # runs before the output's own backward function
            given = next(a for a in args if isinstance(a, torch.Tensor))
            if given.requires_grad and not given.is_leaf:
                given.register_hook(end)
        return out

    return functools.wraps(function)(timed)


def _lock(clock: Clock, function: Callable[..., AbstractContextManager[bool]]) -> Callable[..., AbstractContextManager[bool]]:
    """A store's lock: taking and freeing it is the store's time, what happens inside isn't."""

    @contextmanager
    def timed(*args: Any) -> Iterator[bool]:
        lock = function(*args)
        with clock.span("store"):
            free = lock.__enter__()
        try:
            yield free
        finally:
            with clock.span("store"):
                lock.__exit__(None, None, None)

    return timed


@contextmanager
def watching(clock: Clock) -> Iterator[None]:
    """Kernels, and everything else that has a name, tell ``clock`` inside."""
    with ExitStack() as stack:

        def replace(owner: Any, name: str, by: Callable[..., Any]) -> None:
            stack.enter_context(patch.object(owner, name, by))

        for owner, attribute, name in NAMED:
            found = owner.__dict__[attribute]
            if isinstance(found, classmethod):
                replace(owner, attribute, classmethod(_named(clock, found.__func__, name)))  # type: ignore[arg-type]
            else:
                replace(owner, attribute, _named(clock, found, name))
        for attribute in ("forward", "adjoint"):
            replace(kernel, attribute, _named(clock, getattr(kernel, attribute), CIRCUIT))
        replace(dense, "matrix", _named(clock, dense.matrix, FROZEN))
        replace(dense, "expectations", _with_backward(clock, dense.expectations, FROZEN))
        for network in (models.ConvNet, models.ResNet18, models.Linear, models.MLP, models.Quadratic):
            replace(network, "forward", _with_backward(clock, network.forward, CLASSICAL))
        replace(Store, "lock", _lock(clock, Store.lock))
        tasks = {kind: _named(clock, do, f"tasks: {kind}") for kind, do in execute.DO.items()}
        stack.enter_context(patch.object(execute, "DO", tasks))
        yield


def in_rows(case: str, clock: Clock) -> list[dict[str, Any]]:
    """One row a name, then the case's own."""
    whole = sum(clock.seconds.values())
    kernels = sum(clock.seconds[name] for name in KERNELS) / whole
    parts = [
        {"case": case, "part": name, "seconds": s, "share": s / whole, "times": clock.times[name], "kernel": name in KERNELS}
        for name, s in sorted(clock.seconds.items(), key=lambda item: -item[1])
    ]
    return [*parts, {"case": case, "part": "", "seconds": whole, "kernels": kernels, "not_kernels": 1 - kernels}]


def small(study: spec.Study) -> spec.Study:
    """The study with one epoch, few images and two eps a grid: the same tasks, but quick."""
    few = {name: min(count, 10) for name, count in study.images.items()}
    preset = spec.Preset(epochs=1, train=100, images=few, eps={name: values[:2] for name, values in study.eps.items()})
    return presets.resolve(study.model_copy(update={"presets": {"smoke": preset}}), "smoke")


def study_clock(name: str, short: bool, only: Sequence[str], asked_at: float) -> Clock:
    """Runs a study inline in a temporary folder, in this process, which was asked for at ``asked_at`` (``time.time()``)."""
    clock = Clock()
    clock.seconds[STARTING] += time.time() - asked_at
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place, watching(clock):
        with clock.span(PLANNING):
            study = presets.resolve(spec.read(name), None, name)
        request = run.Request(name, small(study) if short else study, None, only)
        state = run.run(request, Path(place), run.Engine("inline"), lambda state, store: nullcontext())
        report.write(Path(place))
    clock.stop()
    if state.failed:
        raise RuntimeError(f"{len(state.failed)} tasks of {name} failed, the first with: {next(iter(state.failed.values())).error}")
    return clock


def whole_study(name: str, short: bool, only: Sequence[str]) -> Clock:
    """``study_clock`` of a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(study_clock, name, short, only, time.time()).result()


def random_images(n: int) -> Images:
    """Images of MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 1, 28, 28, generator=generator)
    return Images(x, torch.arange(n) % 10, torch.arange(n), "random/train")


def cases(layers: int, images: int, steps: int) -> dict[str, Callable[[], object]]:
    """Training, attacking and judging a QVC of 10 qubits, as calls."""
    some = random_images(images)
    torch.manual_seed(0)
    model = models.QVC(10, layers, 10, shape=(1, 28, 28))
    frozen = model.freeze()
    recipe = training.Recipe(epochs=1, batch_size=64, lr=5e-3, schedule="cosine")
    attack = attacks.PGD(steps=steps)
    attacked = evaluation.craft(frozen, some, attacks.FGSM(), 0.1, 0)
    return {
        f"fit, {layers} layers": lambda: training.fit(model, some, recipe),
        "craft": lambda: evaluation.craft(frozen, some, attack, 0.1, 0),
        "score": lambda: evaluation.score({"qvc": frozen}, attacked),
    }


def profiled(work: Callable[[], object], rounds: int) -> Clock:
    """Of ``rounds`` calls, after one that isn't counted."""
    work()
    clock = Clock()
    with watching(clock):
        for _ in range(rounds):
            work()
    clock.stop()
    return clock


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A bar a case: kernels first, then everything else by size; what is below a hundredth is left white."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(row["case"] for row in rows))
    parts = sorted({row["part"] for row in rows if row["part"] and row["share"] > 0.01}, key=lambda part: (part not in KERNELS, part))
    colours = dict(zip(parts, itertools.cycle(matplotlib.color_sequences["tab20"]), strict=False))
    figure, axis = pyplot.subplots(figsize=(11, 1.5 + 0.7 * len(names)), layout="constrained")
    for number, case in enumerate(names):
        left = 0.0
        for part in parts:
            share = sum(row["share"] for row in rows if row["case"] == case and row["part"] == part)
            axis.barh(number, share, left=left, color=colours[part], label=part if number == 0 else None, edgecolor="white")
            left += share
    handles = [Patch(color=colours[part]) for part in parts]
    axis.legend(handles, [f"{part} (kernel)" if part in KERNELS else part for part in parts], fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share of the wall time")
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    """Run the cases; print two tables, write a JSON and a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="digits", help="name of a study, or a TOML file")
    parser.add_argument("--short", action="store_true", help="one epoch, few images, two eps")
    parser.add_argument("--only", nargs="+", default=[], help="sections or data sets of the study")
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40, help="of PGD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=measure.RESULTS)
    arguments = parser.parse_args()
    measure.pin()
    about = measure.machine()
    rows = in_rows(f"study {Path(arguments.study).stem}", whole_study(arguments.study, arguments.short, arguments.only))
    for case, work in cases(arguments.layers, arguments.images, arguments.steps).items():
        rows += in_rows(case, profiled(work, arguments.rounds))
    path = measure.write("studies", vars(arguments), rows, about, arguments.out)
    parts = [row for row in rows if row["part"]]
    draw(parts, arguments.out / "studies.svg")
    print(f"{about['processor']}, one core, torch {about['versions']['torch']}\n")
    print(measure.table([row for row in rows if not row["part"]], COLUMNS), measure.table(parts, PARTS), path, sep="\n\n")


if __name__ == "__main__":
    main()
