"""How a running study is shown: what is done, what is being done, and how long it will take."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from qarmor.studies.engine import State
    from qarmor.studies.store import Store

console = Console(stderr=True)
_REFRESH = 0.5
_SHOWN = 8
_LINE_EVERY = 15.0


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def running(state: "State", store: "Store") -> list[tuple[str, str, float]]:
    """Label, words and finished fraction of the tasks that are being done."""
    found = []
    for key, task in list(state.running.items()):
        try:
            said = json.loads(store.progress_file(key).read_text(encoding="utf-8"))
            found.append((task.label, "" if said["text"] == "starting" else said["text"], float(said["fraction"])))
        except (OSError, ValueError, KeyError, TypeError):
            found.append((task.label, "", 0.0))
    return found


def seconds_left(state: "State", fractions: dict[str, float]) -> float:
    """Time left, from the estimates of what is not done and from how well the estimates of what is done were met."""
    part = {key: task.seconds * (1 - fractions.get(task.label, 0.0)) for key, task in list(state.running.items())}
    rest = state.remaining - sum(task.seconds for task in list(state.running.values())) + sum(part.values())
    return float(max([rest / max(state.slots, 1), *part.values()]) * state.factor)


@contextmanager
def display(state: "State", store: "Store") -> Iterator[None]:
    """Shows ``state`` on stderr while entered: live on a terminal, a line now and then elsewhere."""
    stop = threading.Event()
    show = _live if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(state, store, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _headline(state: "State", now: list[tuple[str, str, float]]) -> str:
    left = seconds_left(state, {label: fraction for label, _, fraction in now})
    failed = f", {len(state.failed)} failed" if state.failed else ""
    return f"{state.done}/{state.total} tasks{failed}, about {duration(left)} left"


def _live(state: "State", store: "Store", stop: threading.Event) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            now = running(state, store)
            table = Table.grid(padding=(0, 1))
            for label, words, fraction in now[:_SHOWN]:
                table.add_row(ProgressBar(total=1.0, completed=fraction, width=16), Text(label), Text(words, style="dim"))
            whole = Table.grid(padding=(0, 1))
            whole.add_row(ProgressBar(total=max(state.total, 1), completed=state.done, width=40), Text(_headline(state, now)))
            live.update(Group(whole, table))
            if stop.wait(_REFRESH):
                return


def _lines(state: "State", store: "Store", stop: threading.Event) -> None:
    said, last = 0.0, ""
    while not stop.wait(_REFRESH):
        now = running(state, store)
        doing = "; ".join(f"{label} {100 * fraction:.0f} %" if fraction else label for label, _, fraction in now[:3])
        line = f"{_headline(state, now)}: {doing or 'waiting for workers'}"
        if time.monotonic() - said > _LINE_EVERY and line != last:
            said, last = time.monotonic(), line
            print(line, file=sys.stderr, flush=True)
