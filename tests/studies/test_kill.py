"""Studies are killed at random moments, with SIGKILL, and run again: the rows are those of an undisturbed run, and little is done twice."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest


def children(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found, waiting = [], [pid]
    while waiting:
        try:
            below = [int(p) for p in Path(f"/proc/{waiting.pop()}/task").glob("*/children") for p in p.read_text().split()]
        except OSError:
            continue
        found += below
        waiting += below
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def disturb(place, rng: random.Random, times: int, arguments: tuple[str, ...]) -> int:
    """Run a study ``times`` times and kill the runner, a worker or all of them; returns how many tasks can have been in the middle of something."""
    interrupted = 0
    for _ in range(times):
        size = place.journal.stat().st_size if place.journal.exists() else 0
        runner = place.start(*arguments)
        while runner.poll() is None and (not place.journal.exists() or place.journal.stat().st_size == size):
            time.sleep(0.01)  # until something is being done
        moment = time.monotonic() + rng.uniform(0.0, 1.5)
        while runner.poll() is None and time.monotonic() < moment:
            time.sleep(0.005)
        below = children(runner.pid)
        what = rng.choice(["runner", "worker", "all"])
        interrupted += 2
        if what == "worker" and below:
            kill(rng.choice(below))
            with contextlib.suppress(subprocess.TimeoutExpired):
                runner.wait(rng.uniform(0.5, 3.0))
            interrupted += 2
        below = children(runner.pid)
        for pid in [runner.pid] if what == "runner" else [runner.pid, *below]:
            kill(pid)
        runner.wait()
        while any(map(alive, below)):  # workers end with their runner
            time.sleep(0.05)
    return interrupted


def check(place, rng: random.Random, times: int, arguments: tuple[str, ...]) -> None:
    wanted = place.undisturbed()
    interrupted = disturb(place, rng, times, arguments)
    place.run(*arguments)
    assert place.here("rows", "out", "--json") == wanted
    assert "no problems" in place.here("verify", "out")
    counts = place.events()
    tasks = {key for key, _ in counts}
    begun = sum(n for (_, event), n in counts.items() if event == "begun")
    assert all(n == 1 for (_, event), n in counts.items() if event == "made")
    assert begun - len(tasks) <= interrupted
    assert sum(n - 1 for (_, event), n in counts.items() if event.startswith("epoch")) <= interrupted
    assert not list((place.store / "damaged").iterdir())
    assert not list((place.store / "tmp").iterdir())
    assert not list((place.store / "work").glob("*.checkpoint"))


def test_killed_at_random_moments(place, seed):
    place.write(epochs=12)
    check(place, random.Random(seed), 2, ("run", "small.toml", "--out", "out"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["inline", "dask"])
def test_killed_ten_times(place, seed, engine):
    place.write(epochs=40)
    check(place, random.Random(seed), 10, ("run", "small.toml", "--out", "out", "--engine", engine))


def test_two_runners_on_one_store_do_no_work_twice(place):
    wanted = place.undisturbed()
    runners = [place.start("run", "small.toml", "--out", "out", "--engine", "inline") for _ in range(2)]
    assert [runner.wait() for runner in runners] == [0, 0], place.said()
    assert place.here("rows", "out", "--json") == wanted
    assert {n for (_, event), n in place.events().items() if event in ("begun", "made")} == {1}


def test_shards_together_are_the_study(place):
    wanted = place.undisturbed()
    runners = [place.start("run", "small.toml", "--out", "out", "--shard", f"{i}/3") for i in (1, 2, 3)]
    assert [runner.wait() for runner in runners] == [0, 0, 0], place.said()
    assert place.here("rows", "out", "--json") == wanted
    assert {n for (_, event), n in place.events().items() if event == "made"} == {1}


def test_ctrl_c_stops_in_one_line_and_the_next_run_goes_on(place):
    place.write(epochs=60)
    runner = place.start("run", "small.toml", "--out", "out")
    while not place.journal.exists():
        time.sleep(0.05)
    os.killpg(runner.pid, signal.SIGINT)  # what a terminal does: everyone in the group gets it
    assert runner.wait() == 1
    assert "qarmor: stopped; what was finished is kept, run the same command again to go on" in place.said()
    assert "Traceback" not in place.said()
    place.run("run", "small.toml", "--out", "out")
    assert "no problems" in place.here("verify", "out")
