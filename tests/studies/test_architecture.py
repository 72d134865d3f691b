"""What networks are made of, read off them: sums, shapes, and the circuit against its specification."""

import itertools

import pytest
import torch

from qarmor import models
from qarmor.circuits import reference
from qarmor.evaluation import resources
from qarmor.studies.architecture import describe
from qarmor.types import Dataset, Images

GREY, COLOUR = ((1, 28, 28), 10), ((3, 32, 32), 2)


def network(name, shape, classes, **options):
    one = Images(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), "")
    return models.build(name, Dataset("", one, one, tuple(map(str, range(classes)))), **options)


@pytest.mark.parametrize(("shape", "classes"), [GREY, COLOUR])
@pytest.mark.parametrize("name", ["convnet", "resnet18", "linear", "mlp"])
def test_stages_have_all_parameters_and_end_at_the_classes(name, shape, classes):
    model = network(name, shape, classes)
    found = describe(model, shape, classes)
    assert found["parameters"] == model.parameter_count() == sum(stage["parameters"] for stage in found["stages"])
    assert found["stages"][-1]["out"] == [classes]
    assert (found["form"], found["shape"], found["layers"]) == ("stages", list(shape), resources.weighted_layers(model))
    assert not any(module._forward_hooks for module in model.modules())


def test_stages_of_the_paper_s_networks():
    conv = describe(network("convnet", *GREY), *GREY)
    assert [(s["what"], s["out"], s["then"]) for s in conv["stages"]] == [
        ("convolution", [64, 14, 14], ["ReLU", "2x2 max pool"]),
        ("convolution", [128, 7, 7], ["ReLU", "2x2 max pool"]),
        ("convolution", [256, 3, 3], ["ReLU", "2x2 max pool"]),
        ("linear", [256], ["ReLU"]),
        ("linear", [10], []),
    ]
    res = describe(network("resnet18", *COLOUR), *COLOUR)
    assert [(s["what"], s["count"], s["out"]) for s in res["stages"]] == [
        ("convolution", 1, [64, 8, 8]),
        *(("block", 2, [maps, side, side]) for maps, side in ((64, 8), (128, 4), (256, 2), (512, 1))),
        ("linear", 1, [2]),
    ]
    assert res["stages"][0] | {"parameters": 0, "out": []} == {
        **{"what": "convolution", "count": 1, "kernel": 7, "stride": 2, "parameters": 0, "out": []},
        "then": ["batch norm", "ReLU", "3x3 max pool, stride 2"],
    }
    assert [s["stride"] for s in res["stages"][1:-1]] == [1, 2, 2, 2]
    assert sum(s["count"] * s["convolutions"] for s in res["stages"][1:-1]) + 2 == res["layers"] == 18


def test_a_network_without_layers_has_no_stages():
    found = describe(network("quadratic", (4,), 2), (4,), 2)
    assert (found["stages"], found["name"], found["parameters"]) == ([], "Quadratic", 2 * 4 * 4)


@pytest.mark.parametrize(("qubits", "layers"), [(2, 0), (3, 5), (10, 200), (12, 500)])
def test_a_circuit_is_counted_as_its_ansatz_is(qubits, layers):
    found = describe(models.QVC(qubits, layers, 2, logit_scale=5.0, learn_scale=False), (4,), 2)
    counts = resources.resources(models.QVC(qubits, layers, 2).ansatz)
    assert (found["qubits"], found["layers"], found["angles"]) == (qubits, layers, 3 * qubits * layers)
    assert (found["gates"], found["gates_per_layer"]) == (sum(counts.gates.values()), counts.gates_per_layer)
    assert found["encoding_gates"] == counts.preparations[0].total
    assert len(found["pairs"]) * layers == counts.gates["CZ"]
    assert (found["scale"], found["learns_scale"], found["parameters"]) == (5.0, False, 3 * qubits * layers)


def test_the_pairs_are_those_of_the_reference(seed):
    """The described circuit, gate by gate with dense matrices, against the specification."""
    qubits, layers = 3, 2
    model = models.QVC(qubits, layers, qubits)
    found = describe(model, (8,), qubits)
    weights, x = model.weights.detach().to(torch.float64), torch.rand(1, 8, dtype=torch.float64)
    state = (x[0] / x[0].norm()).to(torch.complex128)
    bits = torch.tensor(list(itertools.product((0, 1), repeat=qubits)))
    for layer in weights:
        for q, (phi, theta, omega) in enumerate(layer):
            half = theta / 2
            turn = torch.stack([torch.stack([half.cos(), -half.sin()]), torch.stack([half.sin(), half.cos()])]).to(torch.complex128)
            gate = torch.diag(torch.exp(0.5j * omega * torch.tensor([-1, 1]))) @ turn @ torch.diag(torch.exp(0.5j * phi * torch.tensor([-1, 1])))
            state = torch.kron(torch.kron(torch.eye(1 << q), gate), torch.eye(1 << (qubits - q - 1))).to(torch.complex128) @ state
        for first, second in found["pairs"]:
            state = state * (1 - 2 * (bits[:, first] & bits[:, second]))
    ours = ((1 - 2 * bits.to(torch.float64)) * (state.abs() ** 2)[:, None]).sum(0)
    theirs = reference.expectations(x / x.norm(), weights, qubits)[0]
    assert (ours - theirs).abs().max() < 1e-12
