"""The training loop: it learns, it repeats itself, it resumes after a kill, and it stops in words."""

import dataclasses
import itertools
import os
import subprocess
import sys

import pytest
import torch

from qarmor import models
from qarmor.training import Adversarial, Recipe, TrainingError, fit, recipe_for
from qarmor.training.checkpoint import CheckpointError
from qarmor.training.fit import batches, learning_rate
from qarmor.types import Images


def trained(name, data, recipe, **options):
    model = models.build(name, data, seed=1, **recipe.network)
    return model, fit(model, data.train, recipe, **options)


def accuracy(model, images):
    with torch.no_grad():
        return (model(images.x).argmax(1) == images.y).float().mean().item()


@pytest.mark.parametrize(
    ("name", "epochs", "lr"),
    [("qvc6", 6, 5e-2), ("linear", 6, 1e-2), ("quadratic", 6, 1e-2), ("mlp", 6, 1e-2), ("convnet", 6, 1e-3), ("resnet18", 20, 1e-3)],
)
def test_every_network_learns(name, epochs, lr, tiny):
    model, history = trained(name, tiny, Recipe(epochs=epochs, batch_size=16, lr=lr, schedule="cosine"), validation=tiny.test)
    assert accuracy(model, tiny.test) >= 0.9
    assert not model.training
    assert history.accuracy[-1] == pytest.approx(accuracy(model, tiny.test))
    assert history.loss[-1] < history.loss[0]
    assert history.accuracy_steps[-1] == history.steps[-1] == epochs * 8
    assert len(history.accuracy) >= 20
    assert len(history.epoch_seconds) == epochs


@pytest.mark.parametrize("name", ["qvc3", "resnet18"])
def test_same_seed_same_weights(name, tiny):
    recipe = Recipe(epochs=1, batch_size=16)
    one, two, other = (trained(name, tiny, recipe, seed=s)[0] for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_validation_images_change_nothing(tiny):
    recipe = Recipe(epochs=1, batch_size=16)
    one, two = trained("qvc3", tiny, recipe)[0], trained("qvc3", tiny, recipe, validation=tiny.test)[0]
    assert torch.equal(one.weights, two.weights)


SCRIPT = """
import os, sys, torch
from qarmor import models
from qarmor.training import Recipe, fit
from qarmor.types import Dataset, Images
torch.set_num_threads(1)
x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
images = Images(x, torch.arange(64) % 2, torch.arange(64), "a/train")
data = Dataset("a", images, images, ("0", "1"))
name, path, out, die = sys.argv[1:]
class Dropped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.drop = models.build("resnet18", data), torch.nn.Dropout(0.5)
    def forward(self, x):
        return self.drop(self.net(x))
model = Dropped() if name == "dropped" else models.build(name, data)
def progress(p):
    if die == "die" and p.epoch == 3:
        os._exit(9)
recipe = Recipe(epochs=4, batch_size=8, lr=1e-2, schedule="cosine")
history = fit(model, images, recipe, checkpoint=path or None, validation=images, on_progress=progress)
torch.save([model.state_dict(), history.loss, history.accuracy], out)
"""


@pytest.mark.parametrize("name", ["qvc3", "dropped"])
def test_a_killed_training_goes_on_to_the_same_weights(name, tmp_path):
    def run(checkpoint, out, die):
        return subprocess.run([sys.executable, "-c", SCRIPT, name, checkpoint, str(tmp_path / out), die], env=os.environ).returncode

    checkpoint = str(tmp_path / "checkpoint.safetensors")
    assert run("", "whole", "live") == 0
    assert run(checkpoint, "never", "die") == 9
    assert not (tmp_path / "never").exists()
    assert run(checkpoint, "resumed", "live") == 0
    whole, resumed = (torch.load(tmp_path / out, weights_only=True) for out in ("whole", "resumed"))
    assert whole[1:] == resumed[1:]
    for key, value in whole[0].items():
        assert torch.equal(value, resumed[0][key]), key


def test_one_changed_bit_in_a_checkpoint_is_found(tiny, tmp_path):
    recipe, path = Recipe(epochs=1), tmp_path / "c"
    trained("linear", tiny, recipe, checkpoint=path)
    whole = path.read_bytes()
    for place in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="cannot be read|is damaged"):
            trained("linear", tiny, recipe, checkpoint=path)


def test_a_checkpoint_of_another_training_is_refused(tiny, tmp_path):
    path, recipe = tmp_path / "c", Recipe(epochs=1, batch_size=16)
    trained("linear", tiny, recipe, checkpoint=path)
    for other in ({"recipe": dataclasses.replace(recipe, lr=0.5)}, {"recipe": recipe, "seed": 9}):
        with pytest.raises(ValueError, match="is of another training .*: delete it or name another file"):
            trained("linear", tiny, checkpoint=path, **other)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cannot be read .*: delete it to start anew"):
        trained("linear", tiny, recipe, checkpoint=path)


def test_a_loss_that_is_not_finite_names_step_and_cause(tiny):
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+ of 24 \(epoch \d\): the learning rate, 1e\+30, is probably too high"):
        trained("mlp", tiny, Recipe(epochs=3, batch_size=16, lr=1e30))
    x = tiny.train.x.clone()
    x[7, 0, 0, 0] = float("nan")
    broken = Images(x, tiny.train.y, tiny.train.index, "tiny/train")
    with pytest.raises(TrainingError, match="some training images hold NaN or infinity"):
        fit(models.build("linear", tiny), broken, Recipe(batch_size=16))
    model = models.build("linear", tiny)
    torch.nn.init.constant_(model.layer.weight, float("inf"))
    with pytest.raises(TrainingError, match="step 1 of .*logits are not finite before any training"):
        fit(model, tiny.train, Recipe(batch_size=16))


def test_a_last_batch_of_one_is_joined():
    assert [len(b) for b in batches(33, 16, 0, 0)] == [16, 17]
    assert [len(b) for b in batches(1, 16, 0, 0)] == [1]
    assert sorted(torch.cat(list(batches(33, 16, 0, 0))).tolist()) == list(range(33))
    assert next(batches(33, 16, 0, 0)).tolist() != next(batches(33, 16, 0, 1)).tolist()


def test_schedules():
    cosine = Recipe(lr=2.0, schedule="cosine")
    assert [learning_rate(cosine, s, 10) for s in (0, 5)] == [2.0, pytest.approx(1.0)]
    assert 0 < learning_rate(cosine, 9, 10) < 0.1
    assert learning_rate(Recipe(lr=2.0), 9, 10) == 2.0


class Shift:
    """An attack that moves every pixel by eps, and remembers what it was given."""

    name, parameters = "shift", {}

    def __init__(self):
        self.calls = []

    def __call__(self, model, x, y, eps, *, seed=0):
        self.calls.append((len(x), eps, seed))
        return (x + eps).clamp(0, 1)


def test_adversarial_training_attacks_its_fraction_of_every_batch(tiny):
    attack = Shift()
    recipe = Recipe(epochs=1, batch_size=16, adversarial=Adversarial(attack, eps=0.1, fraction=0.5))
    plain, robust = trained("linear", tiny, Recipe(epochs=1, batch_size=16))[0], trained("linear", tiny, recipe)[0]
    assert [n for n, _, _ in attack.calls] == [8] * 7 + [4]
    assert len({seed for *_, seed in attack.calls}) == 8
    assert not torch.equal(plain.layer.weight, robust.layer.weight)
    assert recipe.record()["adversarial"] == {"attack": {"name": "shift"}, "eps": 0.1, "fraction": 0.5}


def test_progress_is_told(tiny):
    seen = []
    trained("linear", tiny, Recipe(epochs=2, batch_size=4), on_progress=seen.append)
    assert (seen[-1].step, seen[-1].steps, seen[-1].epoch, seen[-1].seconds_left) == (60, 60, 2, 0.0)
    assert all(0 <= p.accuracy <= 1 and p.loss > 0 for p in seen)


def test_time_left_counts_all_steps_since_the_start(tiny, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))  # a second a look
    seen = []
    trained("linear", tiny, Recipe(epochs=3, batch_size=4), on_progress=seen.append)
    elapsed = [p.seconds_left * p.step / (p.steps - p.step) for p in seen if p.step < p.steps]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] < next(ticks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(epochs=0), "recipe: epochs must be a whole number, 1 or more, got 0"),
        (lambda: Recipe(batch_size=1.5), "recipe: batch_size must be a whole number, 1 or more, got 1.5"),
        (lambda: Recipe(lr=-1.0), "recipe: lr must be positive and finite, got -1.0"),
        (lambda: Recipe(schedule="step"), "recipe: schedule must be 'constant' or 'cosine', got 'step'"),
        (lambda: Adversarial(Shift(), eps=float("nan")), "adversarial: eps must be finite and not negative, got nan"),
        (lambda: Adversarial(Shift(), eps=0.1, fraction=0), r"adversarial: fraction must be in \(0, 1\], got 0"),
        (lambda: recipe_for("qvc200", "best"), "network 'qvc200' has no recipe 'best'; it has paper, bare, tuned"),
        (lambda: recipe_for("convnet", "paper"), "network 'convnet' has no recipe 'paper'; it has convnet"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fit_refuses_what_cannot_be_trained(tiny):
    with pytest.raises(ValueError, match="no training images"):
        fit(models.build("linear", tiny), tiny.train[:0], Recipe())
    with pytest.raises(ValueError, match="no trainable parameters"):
        fit(models.build("qvc3", tiny).freeze(), tiny.train, Recipe())
    wrong = Images(tiny.train.x, tiny.train.y + 1, tiny.train.index, "tiny/train")
    with pytest.raises(ValueError, match="labels run from 1 to 3, the model has 3 logits"):
        fit(models.build("linear", tiny), wrong, Recipe())
    with pytest.raises(ValueError, match=r"must return logits \(B, K\)"):
        fit(torch.nn.Conv2d(1, 1, 1), tiny.train, Recipe())


def test_recipe_paper_is_the_authors():
    recipe = recipe_for("qvc200", "paper")
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.schedule) == (1, 32, 1e-3, "constant")
    assert recipe.network == {"logit_scale": 5.0, "learn_scale": False, "init": "normal", "padding": "centre"}
    assert recipe_for("qvc500", "bare").network["logit_scale"] == 1.0
    assert recipe_for("qvc500").lr < recipe_for("qvc499").lr == recipe_for("qvc200", "tuned").lr
    assert recipe_for("qvc500").name == "tuned"
