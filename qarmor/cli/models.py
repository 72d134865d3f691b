"""``qarmor models``: the trained networks that come with QArmor."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from qarmor.cli.app import app, out

if TYPE_CHECKING:
    from qarmor.models.shipped import Measured, Shipped


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the trained networks that come with QArmor: their names are taken where a model is asked for."""
    from qarmor.models.shipped import shipped

    if as_json:
        print(json.dumps([_entry(network) for network in shipped()], indent=1))
        return
    out.print(_table(shipped()))
    for command in dict.fromkeys(network.command for network in shipped()):
        out.print(f"{_made_by(command, shipped())}: {command}", soft_wrap=True, highlight=False)


def _entry(network: "Shipped") -> dict[str, object]:
    from dataclasses import asdict

    measured = {"clean": _measured(network.clean), "robust": [_measured(each) for each in network.robust]}
    return {**asdict(network), "dataset": network.dataset, "file": str(network.file), **measured}


def _measured(measured: "Measured") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(measured), "value": measured.value}


def _table(networks: "tuple[Shipped, ...]") -> Table:
    radii = sorted({each.eps for network in networks for each in network.robust})
    table = Table(
        *("network", "weights", "clean", *(f"attacked, eps {eps:g}" for eps in radii), "recipe"),
        title="Networks that come with QArmor, with their accuracy and its 95 % interval",
    )
    for network in networks:
        by_eps = {each.eps: _shown(each) for each in network.robust}
        accuracies = [_shown(network.clean), *(by_eps.get(eps, "") for eps in radii)]
        table.add_row(network.name, f"{network.parameters:,}", *accuracies, network.recipe)
    attacks = dict.fromkeys(_attack(network) for network in networks)
    table.caption = f"Clean: all test images. Attacked: {'; '.join(attacks)}" if networks else None
    return table


def _shown(measured: "Measured") -> str:
    return f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"


def _attack(network: "Shipped") -> str:
    """The attack in words: what it is, and on how many images."""
    options = network.attack["options"]
    said = [f"{options['steps']} steps" if "steps" in options else "", f"loss {options['loss']}" if "loss" in options else ""]
    return f"{network.attack['build']} ({', '.join(filter(None, said))}) on the network itself, {network.robust[0].n} images"


def _made_by(command: str, networks: "tuple[Shipped, ...]") -> str:
    """Which networks a command made: ``mnist/*`` for all of a data set."""
    mine = [network for network in networks if network.command == command]
    whole = {n.dataset for n in mine} - {n.dataset for n in networks if n.command != command}
    return ", ".join(dict.fromkeys(f"{n.dataset}/*" if n.dataset in whole else n.name for n in mine))
