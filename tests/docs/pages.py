"""The examples of a page of docs/, and running them in order, as a reader would."""

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
TOLERANCE = 0.1
"""By how much a printed number may differ from the page's: processors round differently, and training magnifies it."""

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d*\.\d+|\d+")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        language: python, sh, toml, text, ...
        title: name of the file that it is; "" if it is to be run.
        body: its lines.
        line: of the page, counted from 1, on which its first line stands.
    """

    language: str
    title: str
    body: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of ``docs/<page>``."""
    text = (DOCS / page).read_text()
    return [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start(3)) + 1) for m in _FENCE.finditer(text)]


def differences(expected: str, printed: str) -> str:
    """In what ``printed`` is not what the page says, or "": words must be the same, whole numbers too, decimal ones within ``TOLERANCE``."""
    words, other = (" ".join(_NUMBER.sub("#", text).split()) for text in (expected, printed))
    if words != other:
        return f"the page says\n{expected}\nbut it printed\n{printed}"
    for one, two in zip(_NUMBER.findall(expected), _NUMBER.findall(printed), strict=True):
        if abs(float(one) - float(two)) > (TOLERANCE if "." in one else 0):
            return f"the page says {one}, it printed {two}\n{printed}"
    return ""


def run(page: str, folder: Path) -> int:
    """Run the page's python (in one session) and sh blocks in ``folder``, write its titled ones, and compare what its text blocks say was printed.

    Returns:
        How many blocks were run, written or compared.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    printed, count = "", 0
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks(page):
        where = f"docs/{page}, line {block.line}"
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body)
        elif block.language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile("\n" * (block.line - 1) + block.body, where, "exec"), names)
            printed = output.getvalue()
        elif block.language == "sh":
            done = subprocess.run(["bash", "-euc", block.body], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{where}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            printed = done.stdout
        elif block.language == "text":
            assert not (problem := differences(block.body, printed)), f"{where}: {problem}"
        else:
            continue
        count += 1
    return count
