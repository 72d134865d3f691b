"""Two models at once."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from qarmor.attacks import PGD
from qarmor.attacks.ensemble import Ensemble
from qarmor.attacks.eot import Expectation
from qarmor.attacks.joint import Joint, Pair
from qarmor.models import QVC, FrozenQVC
from qarmor.types import frozen


class Returns(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Logits(nn.Module):
    """Whatever logits it was given, image by image, in order; they depend on the images so that a gradient exists."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)].to(x) + 0 * x.flatten(1).sum(1, keepdim=True)


def agree_on_a_wrong_class(pair: Pair, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        first, second = pair.first(x).argmax(1), pair.second(x).argmax(1)
    return (first == second) & (first != y)


class Capture:
    """An attack that keeps what it was handed, and moves nothing."""

    name = "capture"

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, Tensor, Tensor, object, int]] = []

    @property
    def parameters(self) -> dict[str, object]:
        return {}

    def __call__(self, model, x, y, eps, *, seed=0):
        self.calls.append((model, x, y, eps, seed))
        return x


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_joint_model_is_wrong_where_both_give_the_same_wrong_class(classes, drawn_seed) -> None:
    """By brute force over the two predictions; and its second logit by the definition, written as loops."""
    generator = torch.Generator().manual_seed(drawn_seed)
    n = 200
    shared = torch.randn(n, classes, generator=generator)  # else ten classes never agree
    tables = [shared + 0.7 * torch.randn(n, classes, generator=generator, dtype=torch.float64) for _ in range(2)]
    pair = Pair(*map(Logits, tables))
    x = torch.rand(n, 4, dtype=torch.float64)
    for label in range(classes):
        capture = Capture()
        Joint(capture)(pair, x, torch.full((n,), label), 0.1, seed=7)
        (model, images, labels, eps, seed) = capture.calls[0]
        assert torch.equal(images, x)
        assert labels.tolist() == [0] * n
        assert (eps == 0.1).all()
        assert seed == 7
        logits = model(x)
        assert logits.shape == (n, 2)
        wrong = logits.argmax(1) != 0
        assert torch.equal(wrong, agree_on_a_wrong_class(pair, x, torch.full((n,), label)))
        assert wrong.any()
        for row in range(0, n, 10):
            units = [t[row].numpy().std(ddof=1) if classes > 2 else 1 for t in tables]
            leads = [
                [(t[row, k] - max(t[row, j] for j in range(classes) if j != k)) / u for k in range(classes)]
                for t, u in zip(tables, units, strict=True)
            ]
            near = [min(a, b) if a > 0 and b > 0 else min(a, 0) + min(b, 0) for a, b in zip(*leads, strict=True)]
            wanted = max(near[k] for k in range(classes) if k != label)
            assert abs(logits[row, 1] - wanted) < 1e-12
            assert logits[row, 0] == 0


def evasion_radius(weights: tuple[Tensor, Tensor], x: Tensor, label: int) -> float:
    """For linear models, by linear programming: the smallest eps at which both can prefer the same wrong class to all others; inf if none can."""
    d, best = len(x), np.inf
    for k in set(range(len(weights[0]))) - {label}:
        prefer = np.array([np.append(w[j] - w[k], 0.0) for w in weights for j in range(len(w)) if j != k])  # (w_j - w_k) z <= 0
        near = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])  # |z - x| <= eps
        limits = np.concatenate([np.zeros(len(prefer)), x, -x])
        found = linprog(np.eye(d + 1)[d], np.vstack([prefer, near]), limits, bounds=[(0, 1)] * (d + 1))
        best = min(best, found.fun if found.success else np.inf)
    return best


@pytest.mark.parametrize(("classes", "share"), [(2, 0.9), (4, 0.6)])
def test_against_linear_programming(classes, share, drawn_seed) -> None:
    """No image evades two linear models below the smallest radius at which one can; a fifth above it most are found."""
    generator = torch.Generator().manual_seed(drawn_seed)
    attack = Joint(PGD(steps=60, loss="margin", restarts=3))
    possible = found = 0
    for _ in range(3):
        shared = torch.randn(classes, 8, generator=generator, dtype=torch.float64)
        models = [nn.Linear(8, classes, bias=False).double().requires_grad_(False) for _ in range(2)]
        for model in models:
            model.weight.copy_(shared + 0.6 * torch.randn(classes, 8, generator=generator, dtype=torch.float64))
        x = torch.rand(15, 8, generator=generator, dtype=torch.float64)
        pair = Pair(*models)
        y = pair(x).argmax(1)
        weights = tuple(model.weight.numpy() for model in models)
        radii = torch.tensor([evasion_radius(weights, x[i].numpy(), int(y[i])) for i in range(len(x))], dtype=torch.float64).clamp(max=1.25)
        assert not agree_on_a_wrong_class(pair, attack(pair, x, y, 0.98 * radii), y).any()
        within = radii < 0.8
        possible += int(within.sum())
        found += int(agree_on_a_wrong_class(pair, attack(pair, x, y, 1.2 * radii), y)[within].sum())
    assert found >= share * possible, f"{found} of {possible}"


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_joint_keeps_what_evades_already_and_beats_an_attack_on_the_mean(images, drawn_seed, loss) -> None:
    x, _ = images(60, dtype=torch.float64)
    torch.manual_seed(drawn_seed)
    counts = torch.zeros(3)
    for _ in range(12):
        shared = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 4)).double()
        pair = Pair(shared, copy.deepcopy(shared))
        with torch.no_grad():
            for parameter in pair.second.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
            pair.second[2].weight *= 10  # the scale of one model's logits must not decide
            pair.second[2].bias *= 10
            y = pair(x).argmax(1)
        y[::6] = (y[::6] + 1) % 4
        inner = PGD(steps=20, loss=loss)
        clean = agree_on_a_wrong_class(pair, x, y)
        mean = agree_on_a_wrong_class(pair, inner(pair, x, y, 0.15), y)
        joint = agree_on_a_wrong_class(pair, Joint(inner)(pair, x, y, 0.15), y)
        assert (joint | ~clean).all()
        counts += torch.tensor([clean.sum(), mean.sum(), joint.sum()])
    # 1.7 times as many on average, of 30 seeds of six pairs never fewer than 1.28
    assert counts[2] > 1.05 * counts[1], f"clean, mean, joint: {counts}"
    assert counts[2] > 1.2 * counts[0], f"clean, mean, joint: {counts}"


def test_other_images_change_a_result_by_position_only(mlp, images) -> None:
    x, y = images(30, dtype=torch.float64)
    pair = Pair(mlp(dtype=torch.float64), mlp(dtype=torch.float64, seed=1))
    attack = Joint(PGD(steps=4))
    found = attack(pair, x, y, 0.1, seed=2)
    for label in y.unique():
        mine = y == label
        assert (attack(pair, x[mine], y[mine], 0.1, seed=2) - found[mine]).abs().max() < 1e-12
        first = mine.nonzero()[0]
        assert (attack(pair, x[first], y[first], 0.1, seed=2) - found[first]).abs().max() < 1e-12


def test_pair_as_a_classifier(mlp, images) -> None:
    x, _ = images(6)
    first, second = mlp(), mlp(seed=1)
    pair = Pair(first, second)
    wanted = (first(x).softmax(1) * second(x).softmax(1)).sqrt().log()
    assert (pair(x) - wanted).abs().max() < 1e-5
    still = frozen(Pair(QVC(3, 1, 2, shape=(8,)), nn.Linear(8, 2)))
    assert isinstance(still, Pair)
    assert isinstance(still.first, FrozenQVC)
    assert not any(p.requires_grad for p in still.parameters())


def test_random_member_of_a_pair(noisy, mlp) -> None:
    pair = Pair(Expectation(noisy, 4), mlp(classes=3, dtype=torch.float64))
    x, y = torch.rand(6, 12, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    attack = Joint(PGD(steps=2))
    assert torch.equal(attack(pair, x, y, 0.1), attack(pair, x, y, 0.1))


def test_joint_refuses(mlp, images) -> None:
    x, y = images(4)
    pair = Pair(mlp(), mlp(seed=1))
    with pytest.raises(TypeError, match=r"attack 'joint-pgd' needs a Pair of two models, got Sequential: use qarmor.attacks.Pair\(first, second\)"):
        Joint(PGD())(mlp(), x, y, 0.1)
    with pytest.raises(TypeError, match="needs a Pair of two models, got Ensemble"):
        Joint(PGD())(Ensemble([mlp(), mlp()]), x, y, 0.1)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        Pair(mlp(), "qvc200")
    with pytest.raises(ValueError, match="y holds label 4, but the models have only 4 classes, counted from 0"):
        Joint(PGD())(pair, x, y.new_full((4,), 4), 0.1)
    with pytest.raises(ValueError, match='the model has 2: use loss="margin"'):
        Joint(PGD(loss="dlr"))(pair, x, y, 0.1)
    with pytest.raises(ValueError, match="the model's logits are not finite"):
        Joint(PGD())(Pair(mlp(), Returns(lambda x: mlp()(x) * torch.nan)), x, y, 0.1)
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        Joint(PGD())(pair, x + 1, y, 0.1)
    with pytest.raises(ValueError, match=r"one radius per image, shape \(4,\)"):
        Joint(PGD())(pair, x, y, torch.ones(3))
    with pytest.raises(ValueError, match="seed must be between"):
        Joint(PGD())(pair, x[:0], y[:0], 0.1, seed=-1)
