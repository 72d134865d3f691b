"""``qarmor resources``: what a network, and a prediction by it, takes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qarmor.cli.app import app, out, usage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qarmor.evaluation.resources import Preparation, Resources
    from qarmor.models import QVC
    from qarmor.types import Dataset

_IMAGES = 250


@app.command()
def resources(
    network: Annotated[
        str,
        typer.Argument(
            help="qvcN (N layers, e.g. qvc200), convnet, resnet18, linear, quadratic, mlp, package.module:factory, or a .safetensors file."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set, .npz file or package.module:factory that the network is for; mnist by default for a name. With a file, shots a "
            "prediction are worked out on its test images."
        ),
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="pennylane or qiskit: count the encoding of the first test image also as this library decomposes it.")
    ] = None,
    error: Annotated[float, typer.Option(help="Chance that shots name another class than exact expectations would.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count qubits, gates, depth and shots of a quantum network, with the encoding of images; parameters and layers of a classical one."""
    from qarmor import models
    from qarmor.evaluation.resources import LIBRARIES, decomposed, weighted_layers
    from qarmor.evaluation.resources import resources as counted
    from qarmor.models.shipped import is_saved

    if not 0 < error < 1:
        raise typer.BadParameter(f"--error must be between 0 and 1, got {error:g}")
    if library is not None and library not in LIBRARIES:
        raise typer.BadParameter(f"--library must be one of {', '.join(LIBRARIES)}, got {library}")
    from_file = is_saved(network)
    if library is not None and from_file and dataset is None:
        raise typer.BadParameter("--library needs an image to encode: give --dataset")
    model, given = _network(network, from_file, dataset, images=library is not None)
    entry: dict[str, Any] = {"network": network, "dataset": given.name if given is not None else models.inspect(network).dataset or None}
    if not isinstance(model, models.QVC):
        if library is not None:
            raise typer.BadParameter(f"--library: {network} is a classical network, which encodes no image")
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        entry |= {"kind": "classical", "parameters": trainable, "layers": weighted_layers(model)}
        _print_classical(entry, as_json)
        return
    gaps = None if given is None or not from_file else _gaps(model, given)
    found = counted(model.ansatz, gaps=gaps, classes=model.classes, error=error)
    by_library = None
    if library is not None and given is not None:
        by_library = decomposed(_amplitudes(model, given), "pennylane" if library == "pennylane" else "qiskit")
    if as_json:
        extra = {} if by_library is None else {"decomposed": {"library": library, "gates": dict(by_library.gates), "depth": by_library.depth}}
        print(json.dumps({**entry, "kind": "quantum", **found.to_dict(), **extra}, indent=1))
        return
    _print_quantum(entry, found, by_library, error, len(gaps) if gaps is not None else 0)


def _network(network: str, from_file: bool, dataset: str | None, *, images: bool) -> "tuple[nn.Module, Dataset | None]":
    """The network, and its data set: with real images if ``images`` are needed or the network comes from a file, else perhaps one black image."""
    from qarmor import data, models

    if from_file:
        model = usage(lambda: models.load(network))
        return model, None if dataset is None else usage(lambda: data.load(dataset))
    given = _shape_of(dataset or "mnist", images)
    return usage(lambda: models.build(network, given)), given


def _shape_of(name: str, images: bool) -> "Dataset":
    """A data set; one with a name is not read where its shape is enough."""
    import torch

    from qarmor import data
    from qarmor.types import Dataset, Images

    known = {each.name: each for each in data.describe()}
    if images or name not in known:
        return usage(lambda: data.load(name))
    one = torch.zeros(1, dtype=torch.int64)
    black = Images(torch.zeros(1, *map(int, known[name].shape.split("x"))), one, one, name)
    return Dataset(name, black, black, known[name].classes)


def _gaps(model: "QVC", dataset: "Dataset") -> "Tensor":
    """The largest <Z> less the next, of test images, ``(N,)``."""
    from qarmor.evaluation import predict

    images = dataset.test.subset(min(_IMAGES, len(dataset.test)), seed=0)
    best = (predict(model.freeze(), images.x) / float(model.logit_scale.detach())).topk(2, 1).values
    return best[:, 0] - best[:, 1]


def _amplitudes(model: "QVC", dataset: "Dataset") -> "Tensor":
    from qarmor.models.qvc import embed

    return embed(dataset.test.x[:1], model.ansatz.qubits, model.padding)[0]


def _kinds(gates: Any) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in gates.items())


def _print_classical(entry: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry, indent=1))
        return
    table = Table("quantity", "counted", title=_title(entry))
    table.add_row("parameters", f"{entry['parameters']:,}")
    table.add_row("layers with weights", str(entry["layers"]))
    out.print(table)
    out.print(f"{Path(entry['network']).name} is a classical network: it has no circuit, gates or shots.", soft_wrap=True, highlight=False)


def _title(entry: dict[str, Any]) -> str:
    return f"{Path(entry['network']).name} for {entry['dataset'] or 'images of unknown origin'}"


def _print_quantum(entry: dict[str, Any], found: "Resources", by_library: "Preparation | None", error: float, images: int) -> None:
    from qarmor.evaluation.resources import PAPER

    table = Table("quantity", "counted", "gates by kind", "depth", "the paper's words", title=_title(entry))
    table.add_row("qubits", str(found.qubits))
    table.add_row("layers", str(found.layers))
    table.add_row("parameters (angles)", f"{found.parameters:,}")
    table.add_row("gates a layer", str(found.gates_per_layer), "", "", PAPER["gates a layer"])
    table.add_row("gates of the circuit", f"{sum(found.gates.values()):,}", _kinds(found.gates), f"{found.depth:,}")
    everything = [*found.preparations, *([by_library] if by_library is not None else [])]
    for each in everything:
        name = f"encoding, {each.amplitudes} amplitudes" + ("" if each.method == "formula" else f", by {each.method}")
        table.add_row(name, f"{each.total:,}", _kinds(each.gates), f"{each.depth:,}", PAPER["gates of the encoding"])
    for each in everything:
        name = f"gates in all, {each.amplitudes}" + ("" if each.method == "formula" else f", by {each.method}")
        table.add_row(name, f"{found.gates_with(each):,}", "", "", PAPER["gates in all"])
    if images:
        shots = "no bound (ties)" if found.shots is None else f"{found.shots:,}"
        table.add_row(f"shots a prediction, median of {images} test images, right but for {error:g}", f"at most {shots}")
    for name in ("error rate needed", "physical qubits, fault-tolerant"):
        table.add_row(name, "", "", "", PAPER[name])
    out.print(table)
    if by_library is not None and "U" in by_library.gates:
        out.print("U is any rotation of one qubit, which the circuit counts as three gates.", soft_wrap=True, highlight=False)
    if not images:
        out.print("Shots need a trained network and images: give a .safetensors file and --dataset.", soft_wrap=True, highlight=False)
