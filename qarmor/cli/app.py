"""The command line. Verbs are thin: each parses its arguments, calls the library, and prints.

Exit status 0 done, 1 failed, 2 wrong usage. An error is one line on stderr; ``--debug`` shows where it came from. torch is imported inside the
verbs, so that ``--help`` is quick.
"""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, TextIO, TypeVar

import typer
from rich.console import Console
from typer.exceptions import Abort, TyperException

from qarmor import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, fetch and check data sets.")
app.add_typer(data_app, name="data")

out = Console(markup=False)
if not out.is_terminal:
    out = Console(markup=False, width=int(os.environ.get("COLUMNS", "160")))  # on a pipe nothing should be cut off at 80 columns
T = TypeVar("T")

DatasetArgument = Annotated[str, typer.Argument(help="Name of a data set (`qarmor data list`), path of an .npz file, or package.module:factory.")]
MODEL_HELP = "A .safetensors file that `qarmor train` wrote, a name that `qarmor models` lists, or package.module:factory."
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**31 - 1)]
ThreadsOption = Annotated[int, typer.Option(help="Threads of torch. Part of the recipe: its sums, and so the last digits, depend on them.", min=1)]
DeviceOption = Annotated[str, typer.Option(help="Where to compute, e.g. cpu, cuda or mps.")]


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _note
    logging.basicConfig(format="qarmor: %(message)s")
    logging.getLogger("qarmor").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _stop)  # what queueing systems send: stop as on Ctrl-C
    debug = "--debug" in sys.argv[1:]
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    sys.exit(run(arguments, debug=debug))


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


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
        text = " ".join(_said(error).split()) or type(error).__name__
        print(f"qarmor: {text}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        print(
            f"qarmor: {type(error).__name__}: {' '.join(str(error).split())} (a defect, of QArmor or of your own code; --debug shows where)",
            file=sys.stderr,
        )
        return 1


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def usage(make: Callable[[], T], *kinds: type[Exception]) -> T:
    """What ``make`` returns; a ValueError or a missing file (or ``kinds``) is wrong usage, exit status 2."""
    wrong = kinds or (ValueError, FileNotFoundError)
    try:
        return make()
    except wrong as error:
        raise typer.BadParameter(str(error)) from error


def is_factory(model: str) -> bool:
    """Whether a model is given as ``package.module:factory``, and not by a file or a name."""
    return ":" in model and not Path(model).exists()


def saved_label(model: str) -> str:
    """The name in rows of a saved network or a factory: ``qvc200`` for ``weights/qvc200.safetensors`` and for ``mnist/qvc200``.

    Raises:
        typer.BadParameter: neither a file, nor a network that comes with QArmor, nor a factory.
    """
    from qarmor.models.shipped import saved_file

    if is_factory(model):
        return model.replace("/", "-")
    return usage(lambda: saved_file(model)).name.removesuffix(".safetensors")


def check_device(name: str, key: str = "--device") -> None:
    """Refuse a device that is not there."""
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(f"{key} {name}: not available here: {str(error).splitlines()[0]}") from error


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
