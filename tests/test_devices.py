"""Circuits, training, attacks and studies on a GPU, where there is one; else on the CPU through plain torch, which tests the tests."""

import dataclasses

import pytest
import torch

import qarmor
from qarmor.attacks import FGSM, PGD
from qarmor.circuits import choose, expectations
from qarmor.cli import app
from qarmor.training import recipe_for

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"))
DEVICES = ["cpu", CUDA]


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture(scope="module")
def digits():
    return qarmor.load("digits")


def trained(digits, device, name="qvc20", **options):
    model = qarmor.models.build(name, digits, seed=3, **options).to(device)
    recipe = dataclasses.replace(recipe_for(name), epochs=2, batch_size=32, lr=1e-2)
    history = qarmor.fit(model, digits.train.subset(320, seed=0), recipe, seed=1)
    return model, history


def test_expectations_and_gradients_agree_with_the_reference(device, seed):
    states = torch.randn(5, 64, dtype=torch.complex64)
    states /= states.norm(dim=1, keepdim=True)
    weights, cotangent = torch.randn(4, 6, 3), torch.randn(5, 6)
    found = []
    for where, implementation in (("cpu", "reference"), (device, "kron")):
        x, w = states.to(where).requires_grad_(), weights.to(where).requires_grad_()
        out = expectations(x, w, implementation=implementation)
        found.append([t.cpu() for t in (out, *torch.autograd.grad((out * cotangent.to(where)).sum(), (x, w)))])
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(*found, strict=True))


def test_what_is_chosen_for_a_device(device):
    assert choose(torch.float32, device).name == ("cpu" if device.type == "cpu" else "kron")


def test_training_learns_on_the_device_it_is_on(digits, device):
    model, history = trained(digits, device, implementation="kron")
    assert {p.device.type for p in model.parameters()} == {device.type}
    assert history.loss[-1] < 0.8 * history.loss[0]


@pytest.mark.parametrize("attack", [PGD(steps=5), PGD(steps=3, loss="margin", restarts=2), FGSM()], ids=str)
def test_attacks_stay_in_the_ball_and_judge_alike(digits, device, attack):
    model, _ = trained(digits, torch.device("cpu"))
    images = digits.test.subset(60, seed=0)
    here = qarmor.craft(model, images, attack, 0.1, seed=0)
    there = qarmor.craft(model.to(device), images, attack, 0.1, seed=0)
    assert there.x.device == images.x.device
    assert (there.x - images.x).abs().max() <= 0.1 + 1e-6
    # the same random start and the same signs, but for gradients that are nearly zero
    assert (here.source_adversarial_predictions == there.source_adversarial_predictions).float().mean() > 0.9
    rows = qarmor.score({"model": model}, there)
    assert {row.metric for row in rows} == {"accuracy", "fooling_rate"}


STUDY = """
title = "Tiny"
train = 64
images = { few = 10 }
[datasets.digits]
[networks.qvc4]
epochs = 1
[attacks.pgd]
steps = 2
[sections.main]
kind = "transfer"
title = "Main"
sources = ["qvc4"]
targets = ["qvc4"]
attacks = ["pgd"]
eps = [0.1]
images = "few"
"""


def test_a_study_runs_on_the_device(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(STUDY)
    assert app.run(["run", "tiny.toml", "--device", str(device), "--engine", "inline", "--out", "out"], debug=True) == 0
    assert (tmp_path / "out" / "index.html").exists()
    assert f'"device": "{device}"' in (tmp_path / "out" / "study.json").read_text()


def test_a_device_that_is_not_there_is_refused_in_one_line(capsys):
    assert app.run(["run", "digits", "--device", "nosuch"], debug=False) == 2
    assert "--device nosuch: not available here" in capsys.readouterr().err
