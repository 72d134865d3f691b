"""Every network: shapes, determinism, freezing, gradients, float64, deepcopy, refusals."""

import copy
import math

import pytest
import torch

from qarmor import models
from qarmor.models import MLP, QVC, ConvNet, Linear, Quadratic, ResNet18
from qarmor.types import Dataset, Images, frozen

NAMES = ("qvc3", "convnet", "resnet18", "linear", "quadratic", "mlp")


def dataset(shape=(1, 8, 8), classes=3):
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    images = Images(x, torch.arange(6) % classes, torch.arange(6), "some/train")
    return Dataset("some", images, images, tuple(map(str, range(classes))))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_logits_have_a_row_an_image(name, shape):
    data = dataset(shape)
    assert models.build(name, data).eval()(data.train.x).shape == (6, 3)


def test_the_seed_makes_the_weights_and_leaves_the_global_state(name):
    data = dataset()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two, other = (models.build(name, data, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    if name != "quadratic":  # it starts from zero
        assert any(not torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_frozen_has_the_same_logits_and_input_gradients_and_no_parameters(name, seed):
    data = dataset()
    model = models.build(name, data, seed=seed).eval()
    if name == "quadratic":
        torch.nn.init.normal_(model.A)
    ready = frozen(model)
    assert not any(p.requires_grad for p in ready.parameters())
    assert any(p.requires_grad for p in model.parameters())
    assert not ready.training
    x = data.train.x.clone().requires_grad_()
    cotangent = torch.randn(6, 3)
    out, wanted = ready(x), model(x)
    grads = [torch.autograd.grad((o * cotangent).sum(), x)[0] for o in (out, wanted)]
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-3)


def test_deepcopy_and_float64(name):
    data = dataset()
    model = models.build(name, data).eval()
    twin = copy.deepcopy(model).double()
    out = twin(data.train.x.double())
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), model(data.train.x), rtol=1e-3, atol=1e-3)
    assert frozen(twin)(data.train.x.double()).dtype == torch.float64


def test_wrong_images_are_refused(name):
    model = models.build(name, dataset((1, 8, 8))).eval()
    with pytest.raises(ValueError, match="made for images of shape .*, got a batch of shape"):
        model(torch.rand(2, 1, 9, 8))


@pytest.mark.parametrize("freeze", [False, True])
def test_bytes_are_refused(freeze):
    model = QVC(6, 1, 2, shape=(1, 8, 8))
    with pytest.raises(TypeError, match=r"images must be floats in \[0, 1\], got torch.uint8: divide bytes by 255"):
        (model.freeze() if freeze else model)(torch.ones(2, 1, 8, 8, dtype=torch.uint8))


def test_sizes_of_the_paper():
    assert models.build("convnet", dataset((1, 28, 28), 10)).parameter_count() == 962_314
    assert models.build("resnet18", dataset((3, 32, 32), 10)).parameter_count() == 11_181_642  # torchvision's with ten classes
    counts = {layers: QVC(10, layers, 10, learn_scale=False).parameter_count() for layers in (200, 500, 1000)}
    assert counts == {200: 6000, 500: 15000, 1000: 30000}
    assert QVC(12, 200, 2, learn_scale=False).parameter_count() == 7200


def test_resnet18_stem_strides():
    assert models.build("resnet18", dataset((1, 28, 28))).stem(torch.rand(1, 1, 28, 28)).shape == (1, 64, 7, 7)


def test_qubits_for_a_dataset():
    assert QVC.for_dataset(dataset((1, 8, 8), 10), 1).ansatz.qubits == 10
    assert QVC.for_dataset(dataset((1, 28, 28), 10), 1).ansatz.qubits == 10
    assert QVC.for_dataset(dataset((3, 32, 32), 2), 1).ansatz.qubits == 12
    assert QVC.for_dataset(dataset((1, 8, 8), 2), 1).ansatz.qubits == 6


def test_logit_scale():
    assert QVC(10, 1, 2).logit_scale == 64
    assert QVC(10, 1, 2).logit_scale.requires_grad
    fixed = QVC(10, 1, 2, logit_scale=5.0, learn_scale=False)
    assert fixed.logit_scale == 5
    assert [name for name, _ in fixed.named_parameters()] == ["weights"]


def test_init_and_ranges():
    torch.manual_seed(0)
    uniform, normal = QVC(8, 200, 2).weights, QVC(8, 200, 2, init="normal").weights
    assert uniform.min() >= 0
    assert uniform.max() < 2 * math.pi
    assert abs(uniform.mean() - math.pi) < 0.1
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.1


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("shape", [None, (1, 4, 4)])
@pytest.mark.parametrize("padding", ["end", "centre"])
def test_all_zero_images_have_zero_logits_and_gradient(freeze, shape, padding):
    model = QVC(5, 3, 2, shape=shape, padding=padding)
    model = model.freeze() if freeze else model
    x = torch.zeros(2, 1, 4, 4)
    x[1, 0, 1, 1] = 0.5
    x.requires_grad_()
    out = model(x)
    out.square().sum().backward()
    assert (out[0] == 0).all()
    assert (x.grad[0] == 0).all()
    assert out.isfinite().all()
    assert (out[1] != 0).any()


def test_padding_places():
    square = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    embed = models.qvc.embed
    assert embed(square, 4, "end")[0].tolist() == [1, 2, 3, 4] + [0] * 12
    assert embed(square, 4, "centre")[0].reshape(4, 4).tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    assert embed(torch.ones(1, 4), 3, "centre")[0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert embed(torch.ones(1, 3, 32, 32), 12, "centre").sum() == 3072


def test_qvc_matches_its_formula(seed):
    from qarmor.circuits import expectations

    model = QVC(4, 3, 3, logit_scale=7.0).double()
    x = torch.rand(5, 11, dtype=torch.float64)
    states = torch.zeros(5, 16, dtype=torch.float64)
    states[:, :11] = x / x.norm(dim=1, keepdim=True)
    wanted = 7 * expectations(states, model.weights, 3, implementation="reference")
    torch.testing.assert_close(model(x), wanted)
    torch.testing.assert_close(model.freeze()(x), wanted)


@pytest.mark.parametrize("padding", ["end", "centre"])
def test_frozen_quadratic_forms(padding, seed):
    model = QVC(6, 5, 4, shape=(1, 7, 7), padding=padding).double()
    x = torch.rand(5, 1, 7, 7, dtype=torch.float64)
    forms = model.freeze().quadratic()
    assert forms.A.shape == (4, 49, 49)
    torch.testing.assert_close(forms(x), model(x))


@pytest.mark.parametrize("normalise", [True, False])
def test_normalise(normalise, seed):
    x = torch.rand(4, 1, 8, 8)
    for model in (
        Linear((1, 8, 8), 3, normalise=normalise),
        MLP((1, 8, 8), 3, normalise=normalise),
        Quadratic(torch.randn(3, 64, 64), normalise=normalise),
    ):
        same = torch.allclose(model(x), model(0.5 * x), atol=1e-4)
        assert same == normalise


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QVC(3, 1, 4), "4 classes need at least 4 qubits, one readout each, got 3 qubits"),
        (lambda: QVC(9, 1, 2, shape=(1, 28, 28)), r"images of shape \(1, 28, 28\) have 784 pixels and need 10 qubits, got 9 qubits"),
        (lambda: QVC(9, 1, 2)(torch.rand(1, 1, 28, 28)), "784 pixels and need 10 qubits"),
        (lambda: QVC(60, 1, 2), "qubits must be a whole number from 1 to 14, got 60"),
        (lambda: QVC(4, 1, 1), "classes must be a whole number from 2 to 1000, got 1"),
        (lambda: QVC(4, 1, 2, logit_scale=0), "logit_scale must be positive and finite, got 0"),
        (lambda: QVC(4, 1, 2, logit_scale=float("nan")), "logit_scale must be positive and finite, got nan"),
        (lambda: QVC(4, 1, 2, init="zeros"), "init must be 'uniform' or 'normal', got 'zeros'"),
        (lambda: QVC(4, 1, 2, padding="start"), "padding must be 'end' or 'centre', got 'start'"),
        (lambda: QVC(4, 1, 2, implementation="gpu"), "implementation must be 'auto' or one of"),
        (lambda: ConvNet((2, 8, 8), 2), r"shape must be \(1 or 3, 8 to 32, 8 to 32\) for a convolutional network, got \(2, 8, 8\)"),
        (lambda: ResNet18((1, 7, 8), 2), "8 to 32"),
        (lambda: Linear((1, 200, 200), 2), "between 1 and 16384 values"),
        (lambda: MLP((4,), 2, hidden=0), "hidden must be a whole number from 1 to 4096, got 0"),
        (lambda: Quadratic(torch.ones(2, 3, 4)), r"A must be \(classes, d, d\), got shape \(2, 3, 4\)"),
        (lambda: models.build("qvc", dataset()), "unknown network 'qvc'; there are qvcN, convnet, resnet18, linear, quadratic, mlp"),
        (lambda: models.build("convnet", dataset(), layers=3), "network 'convnet' does not take these options"),
        (lambda: models.build("no.such:thing", dataset()), "cannot import 'no.such'"),
        (lambda: models.build("math:nothing", dataset()), "module 'math' has no 'nothing'"),
        (lambda: models.build("builtins:repr", dataset()), "must be a factory that returns a torch.nn.Module, it returned str"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
