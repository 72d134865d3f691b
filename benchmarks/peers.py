"""QArmor beside PennyLane, TensorCircuit-NG, Qulacs, qujax, DeepQuantum and plain PyTorch, in one run on one core.

    make bench                                # all benchmarks, in .venv-bench
    python benchmarks/peers.py                # 10 qubits, 200 layers, and a figure over qubits: about a quarter of an hour
    python benchmarks/peers.py --only-check   # only whether all compute the same: a minute or two
    python benchmarks/peers.py --peers qarmor qulacs --qubits 8 --layers 20 --sweep

Three steps on a batch: forward (<Z_0>, ..., <Z_K-1>, K = min(10, qubits)), training step (a loss and its gradient for the weights) and attack
step (its gradient for the states, weights fixed). Each peer is a short script in ``benchmarks/peers/``, written as its documentation would have
it; its first line says in which mode. All get the same problem, and are first checked against the circuit gate by gate in complex128, to 1e-4
of the largest element; what is wrong, cannot be done or is not installed is in the table with its reason, and is not timed.

Each peer has a process of its own, bound to the same core, and they take turns. Numbers are medians in ms a sample: each peer and step with
the batch, ``--batch`` at most, that suits it best within a few seconds a call. Set-up is what the first calls took beyond steady ones: building
circuits, tracing, compiling, here on two samples. QArmor's attack step is on the frozen model, whose cost does not depend on depth; a line of
its own says what it costs when not frozen, and repeats the other two steps, so that it shows how much the run's numbers wander. PennyLane and
DeepQuantum differentiate through torch and hold 8 GB or more for 64 samples: a batch is tried only if less than half of the free memory should do,
so run it where 20 GB are free to see them at their best.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import measure
from peers import _race, _registry, _show


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", default=[10], help="circuits of the table")
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64, help="most samples of a call")
    parser.add_argument("--peers", nargs="+", default=list(_registry.PEERS), choices=list(_registry.PEERS), metavar="PEER", help="default: all")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--seconds", type=float, default=4.0, help="about the longest call")
    parser.add_argument("--sweep", type=int, nargs="*", default=[4, 6, 8, 10, 12], help="qubits of the figure; nothing: only those of the table")
    parser.add_argument("--sweep-layers", type=int, default=20, help="layers of the figure's circuits")
    parser.add_argument("--only-check", action="store_true", help="only whether all compute the same")
    parser.add_argument("--out", type=Path, default=measure.RESULTS, help="folder of peers.json and peers.svg")
    given = parser.parse_args(arguments)
    if min(given.qubits + given.sweep) < 2 or max(given.qubits + given.sweep) > 14:
        parser.error(f"qubits must be from 2 to 14, got {sorted({*given.qubits, *given.sweep})}")
    if min(given.layers, given.sweep_layers, given.repeats) < 1 or given.batch < 2:
        parser.error("layers and repeats must be 1 or more, and the batch 2 or more")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Check, time, write; 1 if a peer came out wrong and it is not known why."""
    given = parsed(arguments)
    measure.pin(1)
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    sizes = [_race.Size(n, given.layers, given.batch, given.seconds) for n in given.qubits]
    swept = [_race.Size(n, given.sweep_layers, given.batch, given.seconds / 8) for n in given.sweep]
    about = measure.machine(_registry.versions())
    print(f"{about['processor']}, one core; " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()), flush=True)
    start = time.perf_counter()
    runners = [_race.Runner(_registry.PEERS[name]) for name in given.peers]
    cells = []
    try:
        for size in sizes + ([] if given.only_check else swept):
            new = _race.check(runners, size)
            if not given.only_check:
                _race.race(runners, new, given.repeats if size in sizes else min(given.repeats, 3))
            cells += new
            print(f"\n{size.qubits} qubits, {size.layers} layers" + (", checked only" if given.only_check else "; ms a sample, and times ours (x)"))
            print(_show.text(_race.rows(new), checked=given.only_check), flush=True)
        memory = {runner.peer.name: runner.ask("memory") for runner in runners if not runner.gone}
    finally:
        for runner in runners:
            runner.stop()
    rows = _race.rows(cells)
    print(f"\n{_show.modes(rows)}")
    if not given.only_check:
        about |= {"peak_mb": memory, "minutes": (time.perf_counter() - start) / 60}
        print(measure.write("peers", vars(given), rows, about, given.out))
        layers = given.sweep_layers if swept else given.layers
        _show.figure([row for row in rows if row["layers"] == layers], given.out / "peers.svg")
        print(given.out / "peers.svg")
    unexpected = [row for row in rows if row["note"] and not row["expected"]]
    for row in unexpected:
        print(f"{row['label']}, {row['step']}, {row['qubits']} qubits: {row['note']}", file=sys.stderr)
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
