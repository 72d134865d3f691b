"""What a network is made of, stage by stage, read off the network itself: what its diagram is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qarmor import models
from qarmor.evaluation.resources import resources, weighted_layers

Entry = dict[str, Any]

_WORDS = {"BatchNorm2d": "batch norm", "ReLU": "ReLU", "Flatten": ""}


def describe(model: nn.Module, shape: Sequence[int], classes: int) -> Entry:
    """A network as JSON values: ``form`` is ``"circuit"`` for a QVC, else ``"stages"``.

    Args:
        model: with any weights, on the CPU; a forward pass is done.
        shape: of one image.
        classes: number of logits.
    """
    common = {"shape": list(shape), "classes": classes, "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
    if isinstance(model, models.QVC):
        return {**common, "form": "circuit", **_circuit(model)}
    return {**common, "form": "stages", "name": type(model).__name__, "layers": weighted_layers(model), "stages": _stages(model, shape)}


def _circuit(model: models.QVC) -> Entry:
    counts = resources(model.ansatz)
    return {
        "qubits": counts.qubits,
        "layers": counts.layers,
        "angles": counts.parameters,
        "gates": sum(counts.gates.values()),
        "gates_per_layer": counts.gates_per_layer,
        "encoding_gates": counts.preparations[0].total,
        "pairs": [[q, q + 1] for q in range(counts.qubits - 1)],
        "padding": model.padding,
        "scale": model.initial_scale,
        "learns_scale": model.learn_scale,
    }


def _stages(model: nn.Module, shape: Sequence[int]) -> list[Entry]:
    """A stage begins with a module that has a kernel, or is a block with a shortcut; what follows (normalisation, ReLU, pooling) belongs to it."""
    stages: list[Entry] = []
    blocks = [module for module in model.modules() if _is_block(module)]
    inside = {id(part) for block in blocks for part in block.modules() if part is not block}

    def seen(module: nn.Module, given: object, out: object) -> None:
        size = sum(p.numel() for p in module.parameters() if p.requires_grad)
        if isinstance(module, nn.Conv2d | nn.Linear) or _is_block(module):
            stages.append({**_begin(module), "parameters": size, "then": []})
        elif stages:
            stages[-1]["parameters"] += size
            stages[-1]["then"] += [word] if (word := _word(module)) else []
        if stages and isinstance(out, Tensor) and not isinstance(module, nn.Flatten):
            stages[-1]["out"] = list(out.shape[1:]) or [1]

    looked_at = [m for m in model.modules() if id(m) not in inside and (_is_block(m) or not list(m.children()))]
    hooks = [module.register_forward_hook(seen) for module in looked_at if module is not model]
    try:
        with torch.no_grad():
            model.eval()(torch.full((1, *shape), 0.5))
    finally:
        for hook in hooks:
            hook.remove()
    return _merged(stages)


def _is_block(module: nn.Module) -> bool:
    return "shortcut" in dict(module.named_children()) and bool(_convolutions(module))


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [m for name, m in block.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in name.split(".")]


def _begin(module: nn.Module) -> Entry:
    if isinstance(module, nn.Linear):
        return {"what": "linear", "count": 1}
    if isinstance(module, nn.Conv2d):
        return {"what": "convolution", "count": 1, "kernel": module.kernel_size[0], "stride": module.stride[0]}
    inner = _convolutions(module)
    return {"what": "block", "count": 1, "kernel": inner[0].kernel_size[0], "stride": inner[0].stride[0], "convolutions": len(inner)}


def _word(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, nn.MaxPool2d):
        stride = "" if module.stride == module.kernel_size else f", stride {module.stride}"
        return f"{module.kernel_size}x{module.kernel_size} max pool{stride}"
    return _WORDS.get(name, name)


def _merged(stages: list[Entry]) -> list[Entry]:
    """Blocks of as many maps, one after the other, are one stage; its stride is the first one's."""
    found: list[Entry] = []
    for stage in stages:
        last = found[-1] if found else {}
        if stage["what"] == "block" == last.get("what") and stage["out"][0] == last["out"][0] and stage["stride"] == 1:
            last |= {"count": last["count"] + 1, "parameters": last["parameters"] + stage["parameters"], "out": stage["out"]}
        else:
            found.append(stage)
    return found
