"""``check_model`` and ``check_attack``: nothing on what is right, and the right code on one broken model or attack for each."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

import qarmor
from qarmor import attacks, models
from qarmor.attacks import FGSM, PGD
from qarmor.testing import ATTACK_CHECKS, MODEL_CHECKS, CheckError, check_attack, check_model
from qarmor.types import Classifier, Images


class Model(nn.Module):
    """A small network, and a function that has its way with it."""

    def __init__(self, function=lambda net, x: net(x)):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))
        self.register_buffer("calls", torch.zeros(()))
        self.function = function

    def forward(self, x):
        return self.function(self.net, x)


class Counting(Model):
    def forward(self, x):
        self.calls += 1
        return self.net(x)


class CountingItself(Counting, Classifier):
    """Its frozen form does not count."""

    def freeze(self):
        other = Model()
        other.load_state_dict(self.state_dict())
        return other.eval().requires_grad_(False)


class Uncopyable(Model):
    def __deepcopy__(self, memo):
        raise NotImplementedError("no copies")


class Trainable(Model, Classifier):
    def freeze(self):
        return copy.deepcopy(self)


class Otherwise(Model, Classifier):
    def freeze(self):
        other = copy.deepcopy(self).eval().requires_grad_(False)
        other.net[3].bias += 1e-2 * torch.randn(3)
        return other


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("no second thoughts")


@pytest.fixture
def pictures(seed):
    return Images(torch.rand(20, 1, 4, 4), torch.arange(20) % 3, torch.arange(20), "noise")


def raising(error):
    def function(net, x):
        raise error

    return function


def test_honest_models_pass(pictures):
    model = Model().train()
    assert check_model(model, pictures) == ()
    assert model.training
    assert check_model(Model(), pictures[:1]) == ()


@pytest.mark.parametrize("name", ["qvc4", "linear", "mlp", "convnet"])
def test_ours_pass(name, seed):
    digits = qarmor.load("digits")
    model = models.build(name, digits, seed=seed)
    state = copy.deepcopy(model.state_dict())
    assert check_model(model, digits.test) == ()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


BROKEN_MODELS = {
    "raises": (lambda: Model(raising(OSError("out of order"))), "model-call", r"images of shape \(8, 1, 4, 4\) raised OSError: out of order"),
    "backward raises": (lambda: Model(lambda net, x: net(Backwards.apply(x))), "model-call", "its gradient raised RuntimeError: no second thoughts"),
    "tuple": (lambda: Model(lambda net, x: (net(x),)), "model-logits", "it returned tuple"),
    "labels": (lambda: Model(lambda net, x: net(x).argmax(1)), "model-logits", r"it returned torch\.int64"),
    "three axes": (lambda: Model(lambda net, x: net(x)[None]), "model-logits", r"shape \(1, 8, 3\) for 8 images"),
    "one logit": (lambda: Model(lambda net, x: net(x)[:, :1]), "model-logits", r"shape \(8, 1\)"),
    "too few classes": (lambda: Model(lambda net, x: net(x)[:, :2]), "model-logits", "2 classes, and there is a label 2"),
    "other device": (lambda: Model(lambda net, x: net(x).to("meta")), "model-logits", "on meta, the images on cpu"),
    "squeezes": (lambda: Model(lambda net, x: net(x).squeeze()), "model-slice", r"logits of shape \(3,\) for one image"),
    "wants two": (lambda: Model(lambda net, x: net(x) if len(x) > 1 else net(x[[5]])), "model-slice", r"of shape \(1, 1, 4, 4\) raised IndexError"),
    "no copies": (Uncopyable, "model-copy", "freezing it raised NotImplementedError: no copies"),
    "still trainable": (Trainable, "model-copy", r"can still be trained: net\.1\.weight"),
    "another one frozen": (Otherwise, "model-copy", r"logits of its frozen copy differ by up to"),
    "counts": (Counting, "model-state", "calls changed"),
    "counts unless frozen": (CountingItself, "model-state", "calls changed"),
    "rounds": (lambda: Model(lambda net, x: net((8 * x).round() / 8)), "zero-gradient", "exactly zero"),
    "random": (lambda: Model(lambda net, x: net(x + torch.randn_like(x))), "random-output", "differ by up to"),
    "NaN": (lambda: Model(lambda net, x: net(x) * torch.nan), "non-finite-logits", "8 of 8 images"),
}


@pytest.mark.parametrize("kind", BROKEN_MODELS)
def test_broken_models(kind, pictures):
    make, code, detail = BROKEN_MODELS[kind]
    with pytest.raises(CheckError, match=rf"^model \w+ fails {code}: .*{detail}.*docs/checks\.md#{code}\)$") as caught:
        check_model(make(), pictures)
    assert [finding.check.code for finding in caught.value.findings] == [code]


def test_every_check_of_models_is_tried():
    assert set(MODEL_CHECKS) <= {code for _, code, _ in BROKEN_MODELS.values()}


def test_warnings_about_models_are_returned(pictures):
    class Declared(Model, Classifier):
        stochastic = True

        def forward(self, x):
            return self.net(x) + torch.randn(3)

    assert [finding.check.code for finding in check_model(Declared(), pictures)] == ["stochastic"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m, i: (len, i), TypeError, "model must be a torch.nn.Module"),
        (lambda m, i: (m, i.x), TypeError, r"images must be qarmor\.types\.Images, got Tensor: wrap tensors as Images\(x, y, index, name\)"),
        (lambda m, i: (m, i[:0]), ValueError, "images 'noise' is empty"),
        (lambda m, i: (m, Images(2 * i.x + 1, i.y, i.index, "x")), ValueError, r"x must lie within \[0, 1\]"),
    ],
)
def test_bad_arguments_of_check_model(pictures, change, error, message):
    with pytest.raises(error, match=message):
        check_model(*change(Model(), pictures))


@dataclass
class Signs:
    """One step along the gradient's sign, right in every way but those that are changed."""

    name: Any = "signs"
    parameters: Any = field(default_factory=lambda: {"steps": 1})
    before: Any = lambda model, x, y, eps: None
    start: Any = lambda x, eps, generator: x
    after: Any = lambda found, x, eps: found
    keep: bool = True
    batch_size: int = 12

    def __call__(self, model, x, y, eps, *, seed=0):
        modes = [(part, part.training) for part in model.modules()]
        model.eval()
        self.before(model, x, y, eps)
        radius = (eps if isinstance(eps, torch.Tensor) else torch.full((len(x),), eps)).to(x).view(-1, *[1] * (x.ndim - 1))
        generator = torch.Generator().manual_seed(seed)
        found = []
        for part in torch.arange(len(x)).split(self.batch_size):
            z = self.start(x[part], radius[part], generator).detach().requires_grad_()
            (grad,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y[part], reduction="sum"), z)
            moved = (z + radius[part] * grad.sign()).clamp(x[part] - radius[part], x[part] + radius[part]).clamp(0, 1).detach()
            wrong = (model(moved).argmax(1) != y[part]).view(-1, *[1] * (x.ndim - 1))
            found.append(torch.where(wrong | (not self.keep), moved, x[part]))
        for part, training in modes:
            part.training = training
        return self.after(torch.cat(found), x, radius)


def test_an_honest_attack_passes():
    before = torch.get_rng_state()
    assert check_attack(Signs()) == ()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pgd", {"steps": 5}),
        ("pgd", {"steps": 3, "loss": "margin", "restarts": 2}),
        ("fgsm", {}),
        ("apgd", {"steps": 8}),
        ("square", {"queries": 40}),
    ],
)
def test_our_attacks_pass(name, options):
    assert check_attack(attacks.build(name, **options)) == ()


def halve(eps):
    if isinstance(eps, torch.Tensor):
        eps /= 2


class Trains(Signs):
    def __call__(self, model, x, y, eps, *, seed=0):
        model.train()
        return x + 0 * model(x).sum().detach()


class LeavesEval(Signs):
    def __call__(self, model, x, y, eps, *, seed=0):
        model.eval()
        return x


BROKEN_ATTACKS = {
    "no name": (Signs(name=""), "attack-parameters", "its name is ''"),
    "tensor parameters": (Signs(parameters={"steps": torch.ones(1)}), "attack-parameters", "are no JSON values"),
    "NaN parameters": (Signs(parameters={"steps": float("nan")}), "attack-parameters", "are no JSON values"),
    "tuple parameters": (Signs(parameters={"steps": (1, 2)}), "attack-parameters", "are others when they have been written and read"),
    "raises": (Signs(before=lambda *a: {}["key"]), "attack-call", "it raised KeyError: 'key'"),
    "refuses all": (
        Signs(before=lambda *a: int("many")),
        "attack-call",
        r"refuses every model, the last so: 10 classes .*ValueError: invalid literal",
    ),
    "None": (Signs(after=lambda found, x, eps: None), "attack-result", "it returned NoneType"),
    "flat": (Signs(after=lambda found, x, eps: found.flatten()), "attack-result", r"returned shape \(192,\), not \(12, 16\)"),
    "double": (Signs(after=lambda found, x, eps: found.double()), "attack-result", r"dtype torch\.float64, not torch\.float32"),
    "graph": (Signs(after=lambda found, x, eps: found.requires_grad_()), "attack-result", "requires_grad True"),
    "NaN": (Signs(after=lambda found, x, eps: found.index_fill(0, torch.tensor([3]), torch.nan)), "attack-result", "1 images are NaN"),
    "too far": (
        Signs(after=lambda found, x, eps: (x + 1.01 * (found - x)).clamp(0, 1)),
        "attack-ball",
        r"eps 0\.1, image \d+ leaves its ball .* by 0\.001",
    ),
    "too far where eps is 0": (
        Signs(after=lambda found, x, eps: found + 1e-4 * (eps == 0) * (x < 0.5)),
        "attack-ball",
        "eps 0, image .* of radius 0 by",
    ),
    "largest eps for all": (
        Signs(after=lambda found, x, eps: x + (found - x).sign() * eps.max() * (x - 0.5).abs().lt(0.2) if len(eps.unique()) > 1 else found),
        "attack-ball",
        "eps one per image, image",
    ),
    "leaves the box": (
        Signs(after=lambda found, x, eps: torch.where(x == 0, -eps, found)),
        "attack-box",
        r"eps 0\.1, image 0 leaves \[0, 1\] by 0\.1",
    ),
    "writes into images": (Signs(after=lambda found, x, eps: x.copy_(found)), "attack-inputs", "its images have changed"),
    "writes into labels": (Signs(before=lambda m, x, y, eps: y.zero_()), "attack-inputs", "its labels have changed"),
    "writes into radii": (Signs(before=lambda m, x, y, eps: halve(eps)), "attack-inputs", "eps one per image, its radii have changed"),
    "training mode": (Trains(), "attack-model", "asked the model in training mode"),
    "leaves eval mode": (LeavesEval(), "attack-model", "in another mode"),
    "writes into weights": (Signs(before=lambda m, x, y, eps: m[1].bias.data.add_(0.1)), "attack-model", r"1\.bias changed"),
    "backward": (Signs(before=lambda m, x, y, eps: m(x).sum().backward()), "attack-model", r"parameter 1\.weight has a gradient"),
    "freezes": (Signs(before=lambda m, x, y, eps: m.requires_grad_(False)), "attack-model", "needs none any more"),
    "draws": (Signs(before=lambda m, x, y, eps: torch.rand(1)), "attack-generator", "get_rng_state"),
    "random": (
        Signs(start=lambda x, eps, g: (x + eps * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(torch.seed())) - 1)).clamp(0, 1)),
        "attack-generator",
        "get_rng_state",
    ),
    "random of its own": (
        Signs(start=lambda x, eps, g: (x + eps * (2 * torch.rand(x.shape, generator=_fresh()) - 1)).clamp(0, 1), keep=False),
        "attack-repeat",
        "two calls with seed 1 differ by up to",
    ),
    "drawn for the batch": (
        Signs(start=lambda x, eps, g: (x + eps * torch.rand(1, generator=g)).clamp(0, 1) * (1 if len(x) == 12 else 0.9), keep=False),
        "attack-batches",
        "with 5 instead of 12 images a batch",
    ),
    "helps": (
        Signs(after=lambda found, x, eps: (2 * x - found).clamp(0, 1), keep=False),
        "attack-accuracy",
        "11 of 12 images are named rightly when clean",
    ),
}


def _fresh():
    generator = torch.Generator()
    generator.seed()
    return generator


@pytest.mark.parametrize("kind", BROKEN_ATTACKS)
def test_broken_attacks(kind):
    attack, code, detail = BROKEN_ATTACKS[kind]
    with torch.random.fork_rng(), pytest.raises(CheckError, match=rf"^attack '\w*' fails {code}: .*{detail}.*docs/checks\.md#{code}\)$"):
        check_attack(attack)


def test_every_check_of_attacks_is_tried():
    assert {code for code, check in ATTACK_CHECKS.items() if check.severity == "error"} <= {code for _, code, _ in BROKEN_ATTACKS.values()}


def test_an_attack_without_effect_is_a_warning():
    found = check_attack(Signs(after=lambda found, x, eps: x.clone()))
    assert [finding.check.code for finding in found] == ["attack-weak"] * 4
    assert "11 of 12 images are named rightly when clean and 11 under eps 0.5, on 2 classes and images of shape (16,)" in str(found[0])


def test_refusing_some_models_is_a_warning():
    found = check_attack(PGD(steps=2, loss="dlr"))
    assert [finding.check.code for finding in found] == ["attack-refused"] * 2
    assert 'images of shape (1, 4, 4): ValueError: loss "dlr" needs at least 3 classes' in str(found[1])


@pytest.mark.parametrize(("attack", "got"), [(FGSM, "the class FGSM"), (len, "a builtin_function_or_method"), (None, "a NoneType")])
def test_bad_arguments_of_check_attack(attack, got):
    with pytest.raises(TypeError, match=f"attack must be an instance with a name, parameters and __call__ .* got {got}"):
        check_attack(attack)
