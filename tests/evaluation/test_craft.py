import dataclasses

import pytest
import torch
from torch import nn

from qarmor.attacks import PGD, Square
from qarmor.attacks.eot import EOT
from qarmor.attacks.findings import CheckError
from qarmor.evaluation import Adversarials, craft, transfer
from qarmor.types import Classifier, Images


def test_what_is_recorded(threshold, images, sign_step):
    made = craft({"t": threshold(0.4)}, images, sign_step, 0.1, 7)
    assert isinstance(made, Adversarials)
    assert (made.source, made.attack, made.parameters, made.eps, made.seed) == ("t", "sign-step", {"steps": 1}, 0.1, 7)
    assert made.images is images
    assert made.x.dtype == torch.float32
    towards = torch.where(images.y == 1, -0.1, 0.1)
    torch.testing.assert_close(made.x[:, 0], (images.x[:, 0] + towards).clamp(0, 1))
    # right when clean unless .4 < pixel < .5; right under attack where the moved pixel stays on its side of .4
    assert made.source_clean_correct.tolist() == [True] * 4 + [False] + [True] * 5
    assert made.source_adversarial_correct.tolist() == [True] * 3 + [False] * 2 + [True] * 5
    assert made.source_adversarial_predictions.tolist() == [0] * 3 + [1] * 7
    assert bool((made.gradient_norms > 0).all())
    assert made.flags == ()


def test_a_bare_module_takes_the_given_name(threshold, images, sign_step):
    assert craft(threshold(), images, sign_step, 0.1, 0).source == "source"
    assert craft(threshold(), images, sign_step, 0.1, 0, name="mine").source == "mine"


def test_the_seed_reaches_the_attack_and_the_source_is_frozen(images, scripted):
    class Freezing(Classifier):
        def forward(self, x):
            raise AssertionError("the unfrozen network was asked")

        def freeze(self):
            return nn.Linear(2, 2).requires_grad_(False)

    seen = []
    craft(Freezing(), images, scripted(lambda m, x, y, eps, seed: seen.append((type(m), seed)) or x), 0.1, 5)
    assert seen == [(nn.Linear, 5)]


def test_the_attack_meets_an_eval_mode_network_whatever_freeze_returns(images, scripted):
    class Careless(Classifier):
        def forward(self, x):
            raise AssertionError("the unfrozen network was asked")

        def freeze(self):
            return nn.Linear(2, 2).train()

    seen = []
    craft(Careless(), images, scripted(lambda m, x, y, eps, seed: seen.append(m.training) or x), 0.1, 5)
    assert seen == [False]


def test_the_source_is_left_alone(threshold, images, scripted):
    model = threshold().train()

    def meddle(m, x, y, eps, seed):
        assert not m.training
        m.at.data.fill_(0.9)
        x.mul_(0)
        y.zero_()
        return x.add(0.5)

    before = images.x.clone()
    with pytest.raises(ValueError, match="leaves the l_inf ball"):  # measured against the images, not against what the attack wrote over
        craft(model, images, scripted(meddle), 0.1, 0)
    assert torch.equal(images.x, before)
    assert images.y.tolist() == [0] * 5 + [1] * 5
    assert model.at.item() == 0.5
    assert model.training
    assert model.at.requires_grad


def test_eps_per_image(threshold, images, sign_step):
    eps = torch.linspace(0, 0.2, 10, dtype=torch.float64)
    made = craft(threshold(), images, sign_step, eps, 0)
    assert made.eps.dtype == torch.float32
    torch.testing.assert_close((made.x - images.x).abs().amax(1)[:9], eps.float()[:9])
    assert craft(threshold(), images, sign_step, torch.tensor(0.25), 0).eps == 0.25


def test_a_ball_per_image_is_enforced_per_image(threshold, images, scripted):
    eps = torch.full((10,), 0.2)
    eps[4] = 0.1
    shift = scripted(lambda m, x, y, eps, seed: (x + 0.15).clamp(0, 1))
    with pytest.raises(ValueError, match=r"image 4 leaves the l_inf ball of its eps by 0\.05"):
        craft(threshold(), images, shift, eps, 0)


def test_double_networks_are_attacked_in_double(threshold, images, sign_step):
    made = craft(threshold().double(), images, sign_step, 0.1, 0)
    assert made.x.dtype == torch.float32


def test_it_works_without_gradients_around_it(threshold, images, sign_step, scripted):
    with torch.no_grad():
        made = craft(threshold(), images, scripted(lambda m, x, y, eps, seed: x), 0.1, 0)
    assert bool((made.gradient_norms > 0).all())


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (
            lambda x: x + torch.eye(10, 2) * 0.101,
            ValueError,
            r"attack 'scripted' on images 'line/test': image [01] leaves the l_inf ball of its eps by 0\.001",
        ),
        (lambda x: x + 0.051, ValueError, r"image 9 leaves the box \[0, 1\] by 0\.001; clamp to \[0, 1\]"),
        (lambda x: x - 0.052, ValueError, r"image 0 leaves the box \[0, 1\] by 0\.002"),
        (lambda x: x.index_fill(0, torch.tensor([3]), torch.nan), ValueError, "returned NaN in image 3"),
        (lambda x: x[:4], ValueError, r"must return shape \(10, 2\), that of its images, got \(4, 2\)"),
        (lambda x: None, TypeError, "must return a float tensor, got NoneType"),
        (lambda x: x.round().long(), TypeError, r"must return a float tensor, got torch\.int64"),
    ],
)
def test_attacks_that_break_their_promise_are_refused(threshold, images, scripted, returned, error, message):
    with pytest.raises(error, match=message):
        craft(threshold(), images, scripted(lambda m, x, y, eps, seed: returned(x)), 0.1, 0)


def test_the_box_is_enforced_within_the_ball(threshold, images, scripted):
    wide = dataclasses.replace(images, x=images.x.clone())
    wide.x[2, 1] = 0.0
    with pytest.raises(ValueError, match=r"image 2 leaves the box \[0, 1\] by 0\.05"):
        craft(threshold(), wide, scripted(lambda m, x, y, eps, seed: x - 0.05), 0.1, 0)


def test_rounding_is_tolerated_and_clamped(threshold, images, scripted):
    edge = dataclasses.replace(images, x=images.x.clone())
    edge.x[0, 1] = 0.0
    made = craft(threshold(), edge, scripted(lambda m, x, y, eps, seed: x - eps - 5e-7 if eps else x - 3e-8), 0.0, 0)
    assert float(made.x.min()) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.index_fill_(0, torch.tensor([7]), 0.0), "images 'line/test': image 17 is all zero; "),
        (lambda x: x[3].fill_(torch.nan), "image 13 has a NaN pixel"),
        (lambda x: x[2, 1].fill_(1.5), r"image 12 has a pixel outside \[0, 1\]"),
        (lambda x: x[2, 1].fill_(-0.1), r"image 12 has a pixel outside \[0, 1\]"),
    ],
)
def test_bad_images_are_refused_by_their_index(threshold, images, sign_step, change, message):
    bad = Images(images.x.clone(), images.y, images.index + 10, images.name)
    change(bad.x)
    with pytest.raises(ValueError, match=message):
        craft(threshold(), bad, sign_step, 0.1, 0)


def test_other_bad_images(threshold, images, sign_step):
    with pytest.raises(ValueError, match="images 'line/test' is empty"):
        craft(threshold(), images[:0], sign_step, 0.1, 0)
    with pytest.raises(TypeError, match=r"must be qarmor.types.Images, got Tensor"):
        craft(threshold(), images.x, sign_step, 0.1, 0)
    with pytest.raises(TypeError, match=r"x must be float32 and y int64, got torch.float64"):
        craft(threshold(), dataclasses.replace(images, x=images.x.double()), sign_step, 0.1, 0)
    for label in (2, -1):
        with pytest.raises(ValueError, match=rf"image 6 has label {label}, but network 't' has 2 logits"):
            craft({"t": threshold()}, dataclasses.replace(images, y=images.y.index_fill(0, torch.tensor([6]), label)), sign_step, 0.1, 0)


@pytest.mark.parametrize(
    ("eps", "error", "message"),
    [
        (-0.1, ValueError, "eps must be between 0 and 1"),
        (8, ValueError, "got 8; for 8-bit units divide by 255"),
        (float("nan"), ValueError, "eps must be between 0 and 1"),
        ([0.1], TypeError, "eps must be a number, got list"),
        (True, TypeError, "eps must be a number, got bool"),
        (torch.full((3,), 0.1), ValueError, r"shape \(10,\), got shape \(3,\)"),
        (torch.linspace(-0.1, 0.1, 10), ValueError, "eps of image 0 must be between 0 and 1"),
    ],
)
def test_bad_eps(threshold, images, sign_step, eps, error, message):
    with pytest.raises(error, match=message):
        craft(threshold(), images, sign_step, eps, 0)


def test_bad_sources_attacks_and_seeds(threshold, images, sign_step, scripted):
    model = threshold()
    with pytest.raises(ValueError, match="source is empty"):
        craft({}, images, sign_step, 0.1, 0)
    with pytest.raises(ValueError, match=r"source must be one network, got 2 \(a, b\)"):
        craft({"a": model, "b": model}, images, sign_step, 0.1, 0)
    with pytest.raises(TypeError, match=r"network 'a' must be a torch.nn.Module, got function"):
        craft({"a": lambda x: x}, images, sign_step, 0.1, 0)
    with pytest.raises(TypeError, match="source must map names to modules, got str"):
        craft("model", images, sign_step, 0.1, 0)
    with pytest.raises(ValueError, match="name must be a non-empty string, got ''"):
        craft(model, images, sign_step, 0.1, 0, name="")
    with pytest.raises(TypeError, match="attack must be an instance, got the class Scripted"):
        craft(model, images, scripted, 0.1, 0)
    with pytest.raises(TypeError, match="attack must have a name, parameters and __call__"):
        craft(model, images, lambda m, x, y, eps: x, 0.1, 0)
    with pytest.raises(TypeError, match="attack 'scripted': parameters must be JSON values"):
        craft(model, images, scripted(lambda *a: a[1], loss=torch.zeros(1)), 0.1, 0)
    with pytest.raises(TypeError, match="seed must be an int, got float"):
        craft(model, images, sign_step, 0.1, 0.0)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        craft(model, images, sign_step, 0.1, -1)


class Returning(nn.Module):
    """What ``function`` makes of the first pixel's height above .5 ``(B,)``, which is the logit of class 1."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1))


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (lambda z: (8 * z).round(), "zero-gradient"),
        (lambda z: (8 * z).round() + 0 * z, "zero-gradient"),
        (lambda z: z + ((8 * z).round() - z).detach(), "gradient-mismatch"),
        (lambda z: z.detach(), "detached-gradient"),
        (lambda z: z + 0 * (z - z).sqrt(), "non-finite-gradient"),
        (lambda z: z / 0, "non-finite-logits"),
        (lambda z: z + torch.randn_like(z), "random-output"),
        (lambda z: z - z.mean(0), "batch-dependent"),
    ],
)
def test_a_source_that_masks_its_gradient_is_refused(images, scripted, function, code):
    asked = []
    attack = scripted(lambda m, x, y, eps, seed: asked.append(m) or x)
    with pytest.raises(CheckError, match=rf"^network 's' on images 'line/test' fails {code}: .*; .* \(docs/checks\.md#{code}\)$"):
        craft({"s": Returning(function)}, images, attack, 0.1, 0)
    with pytest.raises(CheckError, match=code):
        craft(Returning(function), images, attack, torch.linspace(0, 0.1, 10), 0)
    assert not asked
    if code not in ("random-output", "non-finite-logits", "batch-dependent"):
        found = craft({"s": Returning(function)}, images, Square(queries=30), 0.3, 0)
        assert found.flags == ()  # of its gradients, which do not matter here
        assert int(found.source_adversarial_correct.sum()) < int(found.source_clean_correct.sum())


@pytest.mark.parametrize("eps", [0, 0.0, torch.zeros(10)])
def test_nothing_is_looked_at_where_nothing_moves(images, scripted, eps):
    made = craft(Returning(torch.Tensor.detach), images, scripted(lambda m, x, y, eps, seed: x), eps, 0)
    assert made.flags == ()


def test_transfer_refuses_a_masked_source_too(images, sign_step, threshold):
    with pytest.raises(CheckError, match="network 'b' on images 'line/test' fails detached-gradient"):
        transfer({"a": threshold(), "b": Returning(torch.Tensor.detach)}, {"c": threshold()}, images, sign_step, [0.1], 0)


def test_flags_of_gradients_on_some_images(images, sign_step):
    flat = craft(Returning(lambda z: z.clamp(-0.4, 0.4)), images, sign_step, 0.1, 0)  # no slope below .1 and above .9
    assert flat.flags == ("zero-gradient",)
    assert int((flat.gradient_norms == 0).sum()) == 2


def test_warnings_are_flags(images, sign_step):
    class Declared(Classifier):
        stochastic = True

        def forward(self, x):
            return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1) + 1e-3 * torch.randn(len(x), 2)

    assert craft(Declared(), images, sign_step, 0.1, 0).flags == ("stochastic",)
    assert craft(Declared(), images, EOT(PGD(steps=2), samples=2), 0.1, 0).flags == ()
    sure = craft(Returning(lambda z: 1e5 * z), images, sign_step, 0.1, 0)
    assert sure.flags == ("zero-gradient", "saturated")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda z: torch.full_like(z, torch.nan), ValueError, "network 's' returns NaN logits"),
        (lambda z: z[:, :1], ValueError, "network 's' returns 1 logit an image"),
        (lambda z: z[:-1], ValueError, r"for 10 images it returned shape \(9, 2\)"),
        (lambda z: z[0], ValueError, r"returned shape \(2,\)"),
    ],
)
def test_bad_sources(images, sign_step, function, error, message):
    with pytest.raises(error, match=message):
        craft({"s": Returning(function)}, images, sign_step, 0.1, 0)
