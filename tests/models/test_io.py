"""Saved networks: the same logits back, and every damaged, foreign or impossible file refused before it costs memory."""

import json
import tracemalloc

import pytest
import safetensors
import safetensors.torch
import torch

from qarmor import models
from qarmor.models import QVC, ConvNet, Linear, Quadratic

MAKERS = {
    "qvc": lambda: QVC(6, 3, 3, padding="centre", shape=(1, 7, 7)),
    "paper": lambda: QVC(6, 3, 3, logit_scale=5.0, learn_scale=False, init="normal"),
    "convnet": lambda: ConvNet((1, 8, 8), 3),
    "resnet18": lambda: models.ResNet18((3, 8, 8), 3),
    "linear": lambda: Linear((1, 8, 8), 3, normalise=True),
    "mlp": lambda: models.MLP((1, 8, 8), 3, hidden=7),
    "quadratic": lambda: Quadratic(torch.randn(3, 64, 64), 2.5, normalise=False),
    "float64": lambda: QVC(4, 2, 3).double(),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_round_trip(kind, tmp_path, seed):
    model = MAKERS[kind]().eval()
    path = models.save(model, tmp_path / "new" / "m.safetensors", recipe={"lr": 0.1}, dataset="tiny", seed=3, accuracy=0.5)
    again = models.load(path)
    assert type(again) is type(model)
    assert not again.training
    assert again.arguments == model.arguments
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
        assert a.dtype == b.dtype
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {n for n, p in model.named_parameters() if p.requires_grad}
    record = models.inspect(path)
    assert (record.dataset, record.seed, record.accuracy, record.recipe) == ("tiny", 3, 0.5, {"lr": 0.1})
    assert record.version
    assert [p.name for p in path.parent.iterdir()] == ["m.safetensors"]


@pytest.fixture
def saved(tmp_path):
    return models.save(QVC(5, 2, 3), tmp_path / "m.safetensors")


def rewrite(path, *, tensors=None, metadata=None, **changes):
    """The same file with another record or other tensors."""
    with safetensors.safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["qarmor"])
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    record["arguments"].update(changes.pop("arguments", {}))
    record.update(changes)
    safetensors.torch.save_file(tensors or old, path, metadata or {"qarmor": json.dumps(record)})
    return path


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[:keep])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.load(saved)


def test_text_and_missing_and_folder(tmp_path):
    text = tmp_path / "a.safetensors"
    text.write_text("hello, this is not a network at all")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.load(text)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="no network at .*: give a .safetensors file"):
            models.load(path)


def test_foreign(tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"w": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="not one that QArmor wrote"):
        models.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": {"qubits": 60}}, "describes no possible QVC: qubits must be a whole number from 1 to 14, got 60"),
        ({"arguments": {"layers": 10**12}}, "tensor 'weights' has shape|describes no possible QVC"),
        ({"arguments": {"layers": 3}}, r"tensor 'weights' has shape \(2, 5, 3\), the architecture has \(3, 5, 3\)"),
        ({"arguments": {"unknown": 3}}, "describes no possible QVC: .*unknown"),
        ({"arguments": {"layers": "two"}}, "layers must be a whole number"),
        ({"arguments": {"learn_scale": False, "logit_scale": -1}}, "logit_scale must be positive"),
        ({"architecture": "Transformer"}, "unknown architecture 'Transformer'; known are QVC"),
        ({"tensors": {"weights": torch.ones(2, 5, 3)}}, "first difference: 'logit_scale'"),
        ({"tensors": {"weights": torch.ones(2, 5, 3), "logit_scale": torch.ones(()), "extra": torch.ones(())}}, "first difference: 'extra'"),
        ({"tensors": {"weights": torch.ones(2, 5, 3).half(), "logit_scale": torch.ones(())}}, "dtype F16"),
        ({"tensors": {"weights": torch.ones(2, 5, 3).double(), "logit_scale": torch.ones(())}}, "mixed precisions"),
        ({"tensors": {"weights": torch.full((2, 5, 3), float("nan")), "logit_scale": torch.ones(())}}, "'weights' has values that are not finite"),
        ({"metadata": {"qarmor": "{"}}, "its record cannot be read"),
        ({"metadata": {"qarmor": "[]"}}, "its record cannot be read"),
        ({"metadata": {"qarmor": "{}"}}, "its record cannot be read"),
    ],
)
def test_records_and_tensors_that_do_not_fit(saved, change, message):
    with pytest.raises(ValueError, match=message):
        models.load(rewrite(saved, **change))


def test_sixty_qubits_allocate_nothing(saved):
    rewrite(saved, arguments={"qubits": 60})
    tracemalloc.start()
    with pytest.raises(ValueError, match="60"):
        models.load(saved)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="FrozenQVC is not one of the networks that can be saved: QVC"):
        models.save(QVC(4, 1, 2).freeze(), tmp_path / "x")
    with pytest.raises(TypeError, match="Linear is not one"):
        models.save(torch.nn.Linear(2, 2), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_load_takes_a_factory(tmp_path, monkeypatch):
    (tmp_path / "mine_for_io.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(models.load("mine_for_io:make"), torch.nn.Linear)
    with pytest.raises(ValueError, match="has no 'other'"):
        models.load("mine_for_io:other")
