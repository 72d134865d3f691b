"""``qarmor data``: list, fetch and check data sets."""

from typing import Annotated

import typer
from rich.table import Table

from qarmor.cli.app import DatasetArgument, data_app, out


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
