"""Every check fires on a model built to fool attacks, and none on honest ones."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import qarmor
from qarmor import models
from qarmor.attacks import PGD, Square
from qarmor.attacks.eot import EOT
from qarmor.attacks.findings import CHECKS, CheckError, Finding, refuse_errors
from qarmor.attacks.preflight import STEPS, concerning, needs_gradient, preflight
from qarmor.testing import ATTACK_CHECKS, MODEL_CHECKS
from qarmor.types import Classifier, frozen

DOCS = Path(qarmor.__file__).parents[1] / "docs" / "checks.md"
NETWORKS = ("convnet", "resnet18", "linear", "mlp", "qvc6")


class Then(nn.Module):
    """``inner`` of what ``function`` makes of the images."""

    def __init__(self, inner, function):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x):
        return self.inner(self.function(x))


class After(nn.Module):
    """What ``function`` makes of the logits of ``inner``, and of the images."""

    def __init__(self, inner, function):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x):
        return self.function(self.inner(x), x)


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


class DeclaredNoise(Classifier):
    stochastic = True

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 0.1 * torch.randn(len(x), 1)


class AlwaysTraining(nn.BatchNorm1d):
    """Batch normalisation that eval() does not reach."""

    def train(self, mode=True):
        return super().train(True)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, grad):
        return grad


def rounded(x):
    return (8 * x).round() / 8


def codes(found):
    return [finding.check.code for finding in found]


@pytest.fixture
def network(seed):
    """A network of one hidden layer on images of 30 pixels, five classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 5)).eval().requires_grad_(False)


@pytest.fixture
def batch(seed):
    return torch.rand(12, 30), torch.randint(5, (12,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_nothing_is_wrong_with_an_honest_network(network, batch, dtype, n):
    x, y = batch
    assert preflight(network.to(dtype), x[:n].to(dtype), y[:n]) == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_wrong_with_ours_untrained(name, seed):
    digits = qarmor.load("digits")
    network = models.build(name, digits, seed=seed)
    some = digits.test.subset(30, seed)
    for each in [frozen(network)] + [network] * isinstance(network, models.QVC):
        assert preflight(each, some.x, some.y, seed=seed) == ()


@pytest.mark.parametrize("name", [*NETWORKS, "quadratic"])
def test_nothing_is_wrong_with_ours_trained(name, seed):
    digits = qarmor.load("digits")
    network = models.build(name, digits, seed=seed)
    qarmor.fit(network, digits.train.subset(320, seed), qarmor.Recipe(epochs=2, batch_size=32, lr=1e-3), seed=seed)
    some = digits.test.subset(30, seed)
    assert preflight(frozen(network), some.x, some.y, seed=seed) == ()


def test_kinks_where_an_image_is_flat_are_no_mismatch(seed):
    network = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 49, 10)).requires_grad_(False)
    x = torch.zeros(8, 1, 14, 14)
    x[:, :, 5:8, 5:8] = 1
    assert preflight(network, x, torch.arange(8)) == ()


MASKED = {
    "rounded": (lambda m: Then(m, rounded), "zero-gradient"),
    "rounded, zero gradient kept": (lambda m: Then(m, lambda x: rounded(x) + 0 * x), "zero-gradient"),
    "straight through": (lambda m: Then(m, StraightThrough.apply), "gradient-mismatch"),
    "straight through by detach": (lambda m: Then(m, lambda x: x + (rounded(x) - x).detach()), "gradient-mismatch"),
    "half of the pixels detached": (lambda m: Then(m, lambda x: torch.cat([x[:, :15], x[:, 15:].detach()], 1)), "gradient-mismatch"),
    "gradient turned round": (lambda m: Then(m, lambda x: 2 * x.detach() - x), "gradient-mismatch"),
    "noise made of the image": (
        lambda m: After(m, lambda z, x: z + (1e5 * x.detach()).sin().sum(1, keepdim=True) * torch.arange(5)),
        "gradient-mismatch",
    ),
    "detached": (lambda m: Then(m, torch.Tensor.detach), "detached-gradient"),
    "detached, other graph": (lambda m: After(m, lambda z, x: z.detach() + torch.zeros(5, requires_grad=True)), "detached-gradient"),
    "through numpy": (lambda m: Then(m, lambda x: torch.from_numpy(x.detach().numpy())), "detached-gradient"),
    "constant": (lambda m: After(m, lambda z, x: 0 * z + torch.arange(5.0)), "zero-gradient"),
    "winner takes all": (lambda m: After(m, lambda z, x: nn.functional.one_hot(z.argmax(1), 5) + 0 * z), "zero-gradient"),
    "square root of zero": (lambda m: Then(m, lambda x: x + 0 * (x - x).sqrt()), "non-finite-gradient"),
    "infinite": (lambda m: After(m, lambda z, x: z / 0), "non-finite-logits"),
    "NaN for one image": (lambda m: Then(m, lambda x: torch.where(x[:, :1] == x[:, :1].max(), torch.nan, x)), "non-finite-logits"),
    "random": (lambda m: nn.Sequential(Noise(), m), "random-output"),
    "random, a little, all logits alike": (lambda m: After(m, lambda z, x: z + 1e-3 * torch.rand(1)), "random-output"),
    "mean of the batch": (lambda m: Then(m, lambda x: x - x.mean(0)), "batch-dependent"),
}


@pytest.mark.parametrize("kind", MASKED)
def test_masks_are_seen(kind, network, batch):
    mask, code = MASKED[kind]
    found = preflight(mask(network), *batch)
    assert codes(found) == [code]
    with pytest.raises(CheckError, match=rf"^it fails {code}: .*docs/checks.md#{code}\)$") as caught:
        refuse_errors("it", found)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert caught.value.findings == found
    assert pickle.loads(pickle.dumps(caught.value)).findings == found


@pytest.mark.parametrize("levels", [2, 4, 16, 32])
@pytest.mark.parametrize("shape", [(64,), (3, 16, 16)])
def test_straight_through_at_other_levels(levels, shape, seed):
    pixels = torch.Size(shape).numel()
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 32), nn.ReLU(), nn.Linear(32, 4))
    quantised = Then(network, lambda x: x + ((levels * x).round() / levels - x).detach())
    assert codes(preflight(quantised, torch.rand(10, *shape), torch.randint(4, (10,)))) == ["gradient-mismatch"]


def test_normalisation_that_eval_does_not_reach(network, batch):
    model = nn.Sequential(AlwaysTraining(30), network).eval()
    assert model[0].training
    found = preflight(model, *batch)
    assert codes(found) == ["batch-dependent"]
    assert "logits of 4 images differ by up to" in found[0].detail


def test_dropout_that_eval_does_not_reach(network, batch):
    class Always(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.5)

    assert codes(preflight(nn.Sequential(Always(), network), *batch)) == ["random-output"]


@pytest.mark.parametrize("train", [True, False])
def test_eval_mode_and_everything_restored(network, batch, train):
    model = nn.Sequential(nn.BatchNorm1d(30), nn.Dropout(0.5), network).train(train)
    modes = [part.training for part in model.modules()]
    before = torch.get_rng_state()
    assert preflight(model, *batch) == ()
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert int(model[0].num_batches_tracked) == 0
    assert torch.backends.cudnn.allow_tf32 is True


def test_saturation_is_a_warning(network, batch):
    x, _ = batch
    y = network(x).argmax(1)
    assert preflight(network, x, y) == ()
    found = preflight(After(network, lambda z, x: 1e5 * z), x, y)
    assert codes(found) == ["saturated"]
    assert refuse_errors("it", found) == found
    lost = PGD(steps=5)(After(network, lambda z, x: 1e5 * z), x, y, 0.2)
    kept = PGD(steps=5, loss="margin")(After(network, lambda z, x: 1e5 * z), x, y, 0.2)
    right = [(network(found).argmax(1) == y).sum() for found in (lost, kept)]
    assert right[0] > right[1]  # what the warning is about


def test_declared_randomness_is_a_warning_unless_averaged(network, batch):
    model = DeclaredNoise(network)
    found = preflight(model, *batch)
    assert codes(found) == ["stochastic"]
    assert refuse_errors("it", found) == found
    assert concerning(EOT(PGD()), preflight(model, *batch)) == ()
    assert codes(concerning(PGD(), preflight(model, *batch))) == ["stochastic"]
    masked = DeclaredNoise(Then(network, torch.Tensor.detach))
    assert codes(preflight(masked, *batch)) == ["stochastic", "detached-gradient"]


def test_attacks_without_gradients_do_without(network, batch):
    class Other:
        name, parameters = "other", {}

        def __call__(self, model, x, y, eps, *, seed=0):
            return x

    assert [needs_gradient(attack) for attack in (PGD(), Other(), EOT(PGD()), Square(), EOT(Square()))] == [True] * 3 + [False] * 2
    deaf = Then(network, rounded)
    assert concerning(Square(), preflight(deaf, *batch)) == ()
    assert codes(concerning(Other(), preflight(deaf, *batch))) == ["zero-gradient"]
    assert codes(concerning(Square(), preflight(nn.Sequential(Noise(), network), *batch))) == ["random-output"]


def test_details_say_what_was_seen(network, batch):
    (deaf,) = preflight(Then(network, rounded), *batch)
    assert re.search(r"exactly zero at 16 of 16 points .*; the margin changes by up to [\d.e-]+ within 0\.01 of them", deaf.detail)
    (constant,) = preflight(After(network, lambda z, x: 0 * z), *batch)
    assert "the margin changes" not in constant.detail
    (astray,) = preflight(Then(network, StraightThrough.apply), *batch)
    assert re.fullmatch(r"at best \d of 16 slopes of the margin agree with its gradient, for steps from 0\.0001 to 0\.01", astray.detail)


def test_a_few_zero_gradients_are_no_error(network, seed):
    x, y = torch.rand(8, 30), torch.randint(5, (8,))
    x[:3] = 0  # below the threshold, as is what lies next to it
    assert preflight(Then(network, lambda x: (x - x.mean(1, keepdim=True) / 3).relu() * (x.mean(1, keepdim=True) > 0.2)), x, y) == ()


def test_the_same_again_and_others_with_another_seed(network, batch):
    asked = []
    model = Then(network, lambda x: asked.append(x.detach().clone()) or x)
    runs = []
    for seed in (3, 3, 4):
        asked.clear()
        preflight(model, *batch, images=5, seed=seed)
        runs.append(torch.cat(asked))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert runs[0].min() >= 0
    assert runs[0].max() <= 1
    assert len(runs[0]) == 5 + 5 + 2 + 10 + len(STEPS) * 4 * 2 * 5


def test_inside_no_grad_and_inference_mode(network, batch):
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert preflight(network, *batch) == ()
            assert codes(preflight(Then(network, StraightThrough.apply), *batch)) == ["gradient-mismatch"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": torch.sum}, TypeError, "model must be a torch.nn.Module"),
        ({"x": torch.rand(12, 30) + 1}, ValueError, r"x must lie within \[0, 1\]"),
        ({"y": torch.arange(11)}, ValueError, "one label per image"),
        ({"x": torch.rand(0, 30), "y": torch.zeros(0, dtype=torch.int64)}, ValueError, "x is empty: preflight needs at least one image"),
        ({"y": torch.arange(12)}, ValueError, "y holds label 11, but the model has only 5 classes"),
        ({"images": 0}, ValueError, "images must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be between 0"),
        ({"model": nn.Linear(30, 1)}, ValueError, "K at least 2"),
    ],
)
def test_bad_arguments(network, batch, change, error, message):
    arguments = {"model": network, "x": batch[0], "y": batch[1], **change}
    with pytest.raises(error, match=message):
        preflight(**arguments)


def test_the_tables_and_the_page_agree():
    every = [*CHECKS.values(), *MODEL_CHECKS.values(), *ATTACK_CHECKS.values()]
    sections = dict(re.findall(r"^### (\S+)\n\n(.*?)(?=^##|\Z)", DOCS.read_text(encoding="utf-8"), re.M | re.S))
    assert list(sections) == [check.code for check in every]
    for check in every:
        assert sections[check.code].startswith(f"**{check.title}"), check.code
        assert len(sections[check.code].split()) > 12
        assert check.explanation.endswith(".")
        assert check.remedy[0].islower()
        assert not check.remedy.endswith(".")
        assert check.severity in ("error", "warning")
        shown = str(Finding(check, "seen"))
        assert shown == f"{check.code}: seen; {check.remedy} (docs/checks.md#{check.code})"
    for check in CHECKS.values():
        assert f", {check.severity}.**" in " ".join(sections[check.code].split())
