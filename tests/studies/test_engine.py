"""The engine: everything that is wanted is made once, inputs first, whatever fails, is damaged or is done elsewhere."""

import contextlib
import itertools
import json
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable

import pytest

from qarmor.studies import engine
from qarmor.studies.engine import Inline, Run, State, shard
from qarmor.studies.store import Store, StoreError, digest
from qarmor.studies.task import Task
from qarmor.studies.tasks import execute as executing

KEYS = {name: digest(name) for name in "abcdefghij"}
NAMES = {key: name for name, key in KEYS.items()}


def task(name: str, needs: str = "", kind: str = "plain", seconds: float = 1.0) -> Task:
    inputs = {f"input {n}": KEYS[n] for n in needs}
    return Task(KEYS[name], kind, f"task {name}", {"threads": 1}, inputs, {}, "d", seconds, 0)


def graph(*tasks: Task) -> dict[str, Task]:
    return {t.key: t for t in tasks}


# a -> c -> e, b -> c, b -> d; f stands alone
TASKS = graph(task("a"), task("b"), task("c", "ab"), task("d", "b"), task("e", "c"), task("f"))


@pytest.fixture(autouse=True)
def made(monkeypatch) -> list[str]:
    """Tasks of a few kinds that write their name; the names of those done, in order."""
    order: list[str] = []

    def plain(job):
        for key in job.task.inputs.values():
            job.store.check(key)  # as real tasks do
        order.append(NAMES[job.task.key])
        (job.folder / "name").write_text(NAMES[job.task.key])
        return {}

    def failing(job):
        raise ValueError("it cannot\nbe done")

    def full(job):
        raise OSError(28, "No space left on device", "somewhere")

    def warning(job):
        warnings.warn("beware of\nthis", stacklevel=1)
        return plain(job)

    monkeypatch.setattr(executing, "DO", {"plain": plain, "failing": failing, "full": full, "warning": warning})
    monkeypatch.setattr(engine, "_ASK_AGAIN", 0.0)
    return order


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


class Watched(Inline):
    """Inline, that tells what it was given; ``before`` is called ahead of each task, and may do it instead."""

    def __init__(self, root, before: Callable[[Task], object] = lambda task: None) -> None:
        super().__init__(root)
        self.given, self.before = [], before

    def submit(self, task):
        self.given.append(NAMES[task.key])
        super().submit(task)

    def collect(self, timeout):
        if self._waiting and (instead := self.before(self._waiting[0])):
            self._waiting.pop(0)
            return [instead]
        return super().collect(timeout)


def run(tasks, store, before=lambda task: None, **options) -> tuple[State, Watched]:
    work, backend = Run(tasks, store, store.root.parent / "logs", **options), Watched(store.root, before)
    work.look()
    return work.go(backend), backend


def events(store) -> list[tuple[str, str]]:
    lines = (json.loads(line) for line in (store.root / "journal.jsonl").read_text().splitlines())
    return [(NAMES[line["key"]], line["event"]) for line in lines]


def test_everything_is_made_inputs_first_and_once(store, made):
    state, _ = run(TASKS, store)
    assert sorted(made) == list("abcdef")
    for t in TASKS.values():
        for needed in t.inputs.values():
            assert made.index(NAMES[needed]) < made.index(NAMES[t.key])
    assert (state.total, state.there, state.done, state.failed, state.left_out, state.running, state.remaining) == (6, 0, 6, {}, {}, {}, 0)
    assert all(store.sound(key) for key in TASKS)
    assert store.check(KEYS["c"]).inputs == {"input a": KEYS["a"], "input b": KEYS["b"]}
    assert not list((store.root / "locks").iterdir())


def test_a_second_run_makes_nothing(store, made):
    run(TASKS, store)
    before, journal = list(made), events(store)
    state, backend = run(TASKS, store)
    assert (state.total, state.there, state.done) == (6, 6, 6)
    assert made == before
    assert backend.given == []
    assert events(store) == journal


def test_a_run_goes_on_from_what_is_there(store, made):
    run({key: TASKS[key] for key in (KEYS["a"], KEYS["b"])}, store)
    state, backend = run(TASKS, store)
    assert (state.there, state.done) == (2, 6)
    assert sorted(backend.given) == list("cdef")
    assert sorted(made) == list("abcdef")


def test_what_another_runner_has_made_meanwhile_is_taken(store, made):
    work, backend = Run(TASKS, store, store.root / "logs"), Watched(store.root)
    work.look()
    run(TASKS, store)
    state = work.go(backend)
    assert sorted(made) == list("abcdef")
    assert (state.done, state.there) == (6, 0)
    assert state.estimated == 0.0  # it says nothing about this machine


def test_the_longest_chain_comes_first(store, made):
    tasks = graph(task("a", seconds=5), task("b", seconds=3), task("c", "b", seconds=4), task("d", "c", seconds=1), task("e", seconds=7.5))
    run(tasks, store)
    # b has 8 seconds to go, e 7.5, c (once b is there) and a 5, and a's key decides
    assert made[:2] == ["b", "e"]
    assert made.index("d") == 4
    assert set(made[2:4]) == {"a", "c"}


def test_what_is_asked_for_first_comes_first(store, made):
    tasks = graph(task("a", seconds=9), task("b", seconds=1), task("c", "b", seconds=1))
    run(tasks, store, first=[KEYS["b"], KEYS["c"]])
    assert made == ["b", "c", "a"]


def test_a_failing_task_is_reported_and_stops_only_what_needs_it(store, made, caplog):
    tasks = TASKS | graph(task("c", "ab", kind="failing"))
    with caplog.at_level(logging.WARNING, logger="qarmor.engine"):
        state, _ = run(tasks, store)
    assert sorted(made) == list("abdf")
    assert list(state.failed) == [KEYS["c"]]
    assert state.failed[KEYS["c"]].error == "it cannot be done"
    assert state.left_out == {KEYS["e"]: KEYS["c"]}
    assert (state.done, state.total, state.remaining) == (4, 6, 0)
    (said,) = [record.getMessage() for record in caplog.records]
    log = store.root.parent / "logs" / f"{KEYS['c'][:16]}.log"
    assert said == f"task c failed: it cannot be done (see {log})"
    assert log.read_text().startswith("task c\nit cannot be done\n\nTraceback ")
    assert 'raise ValueError("it cannot\\nbe done")' in log.read_text()
    assert not store.has(KEYS["c"])
    assert not list((store.root / "tmp").iterdir())


def test_two_failures_leave_out_what_needs_either(store, made):
    state, _ = run(TASKS | graph(task("a", kind="failing"), task("b", kind="failing")), store)
    assert made == ["f"]
    assert set(state.failed) == {KEYS["a"], KEYS["b"]}
    assert {NAMES[key] for key in state.left_out} == set("cde")
    assert state.left_out[KEYS["d"]] == KEYS["b"]


def test_a_failed_task_is_tried_again_by_the_next_run(store, made):
    run(TASKS | graph(task("b", kind="failing")), store)
    state, _ = run(TASKS, store)
    assert (state.there, state.done, state.failed) == (2, 6, {})
    assert sorted(made) == list("abcdef")


def test_an_unknown_kind_is_a_failure_like_any_other(store):
    state, _ = run(graph(task("a", kind="magic"), task("b")), store)
    assert (state.done, list(state.failed)) == (1, [KEYS["a"]])


def damage(store, name):
    (store.folder(KEYS[name]) / "name").write_text("other")


def test_what_was_damaged_before_is_made_again(store, made, caplog):
    run(TASKS, store)
    damage(store, "b")
    made.clear()
    state, _ = run(TASKS, store)
    assert made == ["b"]  # what was made with the sound one is as good as ever
    assert (state.there, state.done) == (5, 6)
    assert [KEYS["b"][:12] in record.getMessage() for record in caplog.records] == [True]
    assert store.sound(KEYS["b"])


def test_an_input_that_is_found_damaged_by_a_task_is_made_again(store, made, caplog):
    once = iter([True])

    def before(t):
        if NAMES[t.key] == "c" and next(once, False):
            damage(store, "b")

    state, _ = run(TASKS, store, before)
    assert sorted(made) == list("abbcdef")
    assert [n for n in made if n in "bc"] == ["b", "b", "c"]
    assert (state.done, state.failed) == (state.total, {})
    assert all(store.sound(key) for key in TASKS)
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_an_input_that_is_damaged_each_time_is_a_failure_in_the_end(store, made):
    tasks = {key: t for key, t in TASKS.items() if key != KEYS["d"]}
    state, _ = run(tasks, store, lambda t: damage(store, "b") if NAMES[t.key] == "c" else None)
    assert list(state.failed) == [KEYS["c"]]
    assert f"artefact {KEYS['b'][:12]}" in state.failed[KEYS["c"]].error
    assert set(state.left_out) == {KEYS["e"]}
    assert made.count("b") == 1 + engine._REMAKES > 1
    assert (state.done, state.total) == (3, 5)


def test_a_task_that_another_process_holds_is_tried_again_until_it_is_free(store, made):
    other = Store(store.root)
    held = other.lock(KEYS["b"])
    assert held.__enter__()
    asked = itertools.count(1)

    def before(t):
        if NAMES[t.key] == "b" and next(asked) == 4:
            held.__exit__(None, None, None)

    state, backend = run(TASKS, store, before)
    assert backend.given.count("b") == 4
    assert sorted(made) == list("abcdef")
    # what does not wait for it is done meanwhile
    assert made.index("a") < made.index("b")
    assert (state.done, state.failed) == (6, {})


def test_a_task_that_another_process_does_meanwhile_is_not_done_twice(store, made):
    held = Store(store.root).lock(KEYS["b"])
    held.__enter__()
    asked = itertools.count(1)

    def before(t):
        if NAMES[t.key] == "b" and next(asked) == 3:
            store.write(t.key, t.kind, t.spec, t.inputs, lambda folder: (folder / "name").write_text("theirs") and {})
            held.__exit__(None, None, None)

    state, _ = run(TASKS, store, before)
    assert sorted(made) == list("acdef")
    assert (state.done, state.failed) == (6, {})
    assert (store.folder(KEYS["b"]) / "name").read_text() == "theirs"


def test_busy_tasks_wait_a_little(store, monkeypatch):
    monkeypatch.setattr(engine, "_ASK_AGAIN", 3600.0)
    held = Store(store.root).lock(KEYS["a"])
    held.__enter__()
    work, backend = Run(graph(task("a"), task("b")), store, store.root / "logs"), Watched(store.root)
    work.look()
    for _ in range(20):
        work._feed(backend)
        for outcome in backend.collect(0.0):
            work._settle(outcome)
    assert backend.given.count("a") == 1
    assert work.state.done == 1
    assert not work.state.running
    held.__exit__(None, None, None)


def test_a_disk_that_is_full_stops_the_run(store, made):
    with pytest.raises(StoreError, match=r"the disk is full; free some space") as caught:
        run(graph(task("a", seconds=3), task("b", kind="full", seconds=2), task("c")), store)
    assert caught.value.strerror.startswith("somewhere: ")
    assert made == ["a"]
    assert store.sound(KEYS["a"])
    state, _ = run(graph(task("a", seconds=3), task("b", seconds=2), task("c")), store)
    assert (state.there, state.done) == (1, 3)


def test_a_warning_is_said_once(store, caplog):
    with caplog.at_level(logging.WARNING, logger="qarmor.engine"), warnings.catch_warnings():
        warnings.simplefilter("always")
        state, _ = run(graph(task("a", kind="warning"), task("b", kind="warning")), store)
        run(graph(task("c", kind="warning")), store, noted=["beware of this"])
    assert state.done == 2
    assert [record.getMessage().removeprefix("note: ") for record in caplog.records] == ["beware of this"]


def test_more_than_one_at_a_time(store, made):
    class Wide(Watched):
        slots = 3
        most = 0

        def submit(self, task):
            super().submit(task)
            self.most = max(self.most, len(self._waiting))

    work, backend = Run(TASKS, store, store.root / "logs"), Wide(store.root)
    work.look()
    state = work.go(backend)
    assert backend.most == 3
    assert sorted(made) == list("abcdef")
    assert state.slots == 3
    for t in TASKS.values():
        assert all(made.index(NAMES[needed]) < made.index(NAMES[t.key]) for needed in t.inputs.values())


def test_counters_and_factor(store):
    tasks = graph(task("a", seconds=10), task("b", "a", seconds=20), task("c", seconds=30))
    work = Run(tasks, store, store.root / "logs")
    assert (work.state.total, work.state.factor) == (3, 1.0)
    work.look()
    assert (work.state.there, work.state.done, work.state.remaining) == (0, 0, 60)
    seen = []

    def before(t):
        seen.append((NAMES[t.key], work.state.done, work.state.remaining, set(map(NAMES.get, work.state.running))))
        return executing.Outcome(t.key, "made", seconds=2 * t.seconds)

    state = work.go(Watched(store.root, before))
    # c and the chain a, b both take 30: what has the smaller key of the two is first
    assert [(done, remaining) for _, done, remaining, _ in seen] in (
        [(0, 60), (1, 50), (2, 30)],
        [(0, 60), (1, 50), (2, 20)],
        [(0, 60), (1, 30), (2, 20)],
    )
    assert all(running == {name} for name, _, _, running in seen)
    assert (state.estimated, state.spent, state.remaining, state.done) == (60, 120, 0, 3)
    assert state.factor == pytest.approx(125 / 65)


SHARDS = graph(
    *(task(n, kind="plain") for n in "abcd"), task("e", "a", kind="warning"), task("f", "b", kind="warning"), task("g", "ef", kind="failing")
)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 20])
def test_shards_are_disjoint_and_together_everything(of):
    parts = [shard(SHARDS, number, of) for number in range(1, of + 1)]
    assert sorted(itertools.chain(*parts)) == sorted(SHARDS)
    assert parts == [shard(SHARDS, number, of) for number in range(1, of + 1)]
    for kind in ("plain", "warning", "failing"):
        sizes = [sum(SHARDS[key].kind == kind for key in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_shard_makes_what_it_needs_and_nothing_more(store, made):
    state, _ = run(TASKS, store, first=[KEYS["d"]], only_needed=True)
    assert made == ["b", "d"]
    assert (state.total, state.done, state.remaining) == (1, 1, 0)
    state, _ = run(TASKS, store, first=[KEYS["d"], KEYS["e"]], only_needed=True)
    assert (state.total, state.there, state.done) == (2, 1, 2)
    assert sorted(made) == list("abcde")


def test_an_empty_shard_does_nothing(store, made):
    state, _ = run(TASKS, store, first=[], only_needed=True)
    assert (state.total, state.done, made) == (0, 0, [])


def test_a_shard_whose_input_fails_ends(store, made):
    state, _ = run(TASKS | graph(task("b", kind="failing")), store, first=[KEYS["e"]], only_needed=True)
    assert made == ["a"]
    assert (state.done, list(state.failed), set(state.left_out) >= {KEYS["e"]}) == (0, [KEYS["b"]], True)


def test_shards_one_after_the_other_make_everything_once(store, made):
    for number in range(1, 4):
        run(TASKS, store, first=shard(TASKS, number, 3), only_needed=True)
    assert sorted(made) == list("abcdef")


def test_an_outcome_is_returned_never_raised(store):
    run(graph(task("a")), store)
    assert executing.execute(str(store.root), task("a")).status == "there"
    failed = executing.execute(str(store.root), task("b", kind="failing"))
    assert (failed.status, failed.error, failed.fatal, failed.damaged) == ("failed", "it cannot be done", False, "")
    assert executing.execute(str(store.root), task("b", kind="full")).fatal
    damage(store, "a")
    hurt = executing.execute(str(store.root), task("c", "a"))
    assert (hurt.status, hurt.damaged, hurt.fatal) == ("failed", KEYS["a"], False)
    with Store(store.root).lock(KEYS["d"]):
        assert executing.execute(str(store.root), task("d")).status == "busy"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_someone_s_callback_swallows_still_stops(tmp_path, monkeypatch, number):
    def swallowing(job):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)
        return {}

    monkeypatch.setattr(executing, "DO", {"swallowing": swallowing})
    before = signal.getsignal(number)
    tasks = graph(task("a", kind="swallowing"), task("b", kind="swallowing"))
    store = Store(tmp_path / "store")
    store.create()
    run = Run(tasks, store, tmp_path / "logs")
    run.look()
    with pytest.raises(KeyboardInterrupt):
        run.go(Inline(store.root))
    assert run.state.done == 1
    assert signal.getsignal(number) == before
