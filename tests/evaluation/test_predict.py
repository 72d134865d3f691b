import pytest
import torch
from torch import nn

from qarmor.evaluation import correct, majority, predict
from qarmor.evaluation.predict import gradient_norms, placement, prepare


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 512])
def test_logits_are_the_models_whatever_the_batch(threshold, images, batch_size):
    model, sizes = threshold(), []
    model.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    logits = predict(model, images.x, batch_size)
    torch.testing.assert_close(logits, model(images.x).detach(), rtol=0, atol=0)
    assert not logits.requires_grad
    assert max(sizes[:-1]) <= batch_size


def test_eval_mode_and_each_submodules_mode_restored(images):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    model.train()
    model[2].eval()
    first, second = predict(model, images.x), predict(model, images.x)
    assert torch.equal(first, second)
    assert [m.training for m in model.modules()] == [True, True, True, False]


def test_mode_restored_after_an_error(images):
    model = Returns(lambda x: torch.full((len(x), 2), torch.nan)).train()
    with pytest.raises(ValueError, match="NaN"):
        predict(model, images.x)
    assert model.training


def test_double_models_get_double_images(threshold, images):
    logits = predict(threshold().double(), images.x)
    assert logits.dtype == torch.float64
    assert placement(threshold(), images.x) == (torch.device("cpu"), torch.float32)
    mixed = threshold()
    mixed.register_buffer("statistics", torch.zeros(1, dtype=torch.float64))
    assert placement(mixed, images.x)[1] == torch.float32


def test_device_is_that_of_the_first_parameter(threshold, images):
    assert placement(threshold().to("meta"), images.x)[0] == torch.device("meta")
    assert placement(nn.Flatten(), images.x)[0] == images.x.device


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x: torch.full((len(x), 2), torch.nan), ValueError, "network 'm' returns NaN"),
        (lambda x: torch.zeros(len(x) - 1, 2), ValueError, r"for 10 images it returned shape \(9, 2\)"),
        (lambda x: torch.zeros(len(x)), ValueError, r"returned shape \(10,\)"),
        (lambda x: torch.zeros(len(x), 1), ValueError, "1 logit an image"),
        (lambda x: (torch.zeros(len(x), 2),), TypeError, "tensor of logits .* got tuple"),
    ],
)
def test_bad_networks_are_refused(images, make, error, message):
    with pytest.raises(error, match=message):
        predict(Returns(make), images.x, name="m")


def test_bad_arguments(threshold, images):
    with pytest.raises(ValueError, match="x is empty"):
        predict(threshold(), images.x[:0])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predict(threshold(), images.x, 0)


def test_correct_and_majority(threshold, images):
    assert correct(threshold(0.3), images).tolist() == [True] * 3 + [False] * 2 + [True] * 5
    assert majority(torch.tensor([2, 0, 2, 2])) == 0.75


def test_gradient_norms_match_autograd_image_by_image(threshold, images):
    network = prepare("t", threshold(), images)
    with torch.no_grad():
        norms = gradient_norms(network, images, batch_size=3)
    for i in range(10):
        x = images.x[i : i + 1].clone().requires_grad_()
        nn.functional.cross_entropy(network.model(x), images.y[i : i + 1]).backward()
        assert norms[i] == pytest.approx(float(x.grad.abs().max()))


def test_gradient_norms_of_constant_and_broken_networks(images):
    constant = prepare("c", Returns(lambda x: torch.tensor([[0.0, 1.0]]).repeat(len(x), 1)), images)
    assert gradient_norms(constant, images).tolist() == [0.0] * 10
    broken = prepare("b", Returns(lambda x: torch.stack([(x[:, 0] - x[0, 0]).sqrt(), x[:, 1]], 1)), images)
    assert gradient_norms(broken, images).isnan().tolist() == [True] + [False] * 9  # sqrt at 0
    infinite = prepare("i", Returns(lambda x: torch.stack([(x[:, 1] - 0.5).sqrt(), x[:, 0]], 1)), images)
    assert gradient_norms(infinite, images).isnan().tolist() == [True] * 10
