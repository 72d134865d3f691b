import pytest
import torch
from torch import nn

from qarmor import attacks
from qarmor.attacks import PGD, AutoAttack, Joint, Pair
from qarmor.attacks.autoattack import SUITES
from qarmor.evaluation import craft
from qarmor.types import Images


@pytest.mark.parametrize(
    ("classes", "version", "name", "parts"),
    [
        (2, "binary", "autoattack-binary", ["apgd-ce", "apgd-margin", "fab", "square"]),
        (3, "ternary", "autoattack-ternary", ["apgd-ce", "apgd-dlr", "fab-t", "square"]),
        (4, "standard", "autoattack", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (10, "standard", "autoattack", ["apgd-ce", "apgd-t", "fab-t", "square"]),
    ],
)
def test_auto_takes_the_suite_that_the_classes_allow(classes, version, name, parts) -> None:
    attack = AutoAttack().for_classes(classes)
    assert (attack.version, attack.name, list(attack.suite())) == (version, name, parts)
    assert list(attack.parameters["suite"]) == parts


def test_published_budgets() -> None:
    suite = AutoAttack(version="standard").parameters["suite"]
    assert [suite[name]["steps"] for name in ("apgd-ce", "apgd-t", "fab-t")] == [100, 100, 100]
    assert [suite[name]["targets"] for name in ("apgd-t", "fab-t")] == [9, 9]
    assert suite["square"]["queries"] == 5000
    assert all(part["restarts"] == 1 for part in suite.values())
    assert [SUITES["light"]["apgd-ce"].parameters[k] for k in ("steps", "restarts", "loss")] == [5, 1, "ce"]


def test_own_budgets_reach_every_attack() -> None:
    suite = AutoAttack(version="binary", steps=7, queries=11).parameters["suite"]
    assert [part.get("steps", part.get("queries")) for part in suite.values()] == [7, 7, 7, 11]


@pytest.mark.parametrize(("version", "classes", "needed"), [("standard", 2, 4), ("standard", 3, 4), ("ternary", 2, 3)])
def test_too_few_classes(mlp, images, version, classes, needed) -> None:
    x, y = images(3, classes=classes)
    with pytest.raises(ValueError, match=f'version "{version}" needs at least {needed} classes, the model has {classes}: use version="auto"'):
        AutoAttack(version=version, steps=2, queries=2)(mlp(classes=classes), x, y, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "plus"}, "version must be one of auto, standard, ternary, binary, light, got 'plus'"),
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"queries": 1.5}, "queries must be a whole number, 1 or more, got 1.5"),
    ],
)
def test_bad_options(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        attacks.build("autoattack", **options)


class Counting(nn.Module):
    """Counts the images that it is asked about."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.asked = inner, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return self.inner(x)


def test_only_images_still_right_go_on(mlp, images) -> None:
    x, _ = images(60, (3, 2, 2))
    model = Counting(mlp())
    y = model(x).argmax(1)
    y[:20] = (y[:20] + 1) % 4  # wrong already
    stages, asked = [], []

    def told(progress) -> None:
        stages.append((progress.stage, progress.robust, progress.images, progress.finished, progress.fraction))
        asked.append(model.asked)

    attack = AutoAttack(steps=10, queries=30)
    found = attack(model, x, y, 0.5, on_progress=told)
    names, robust, total, finished, fractions = zip(*stages, strict=True)
    assert names == ("autoattack", "apgd-ce", "apgd-t", "fab-t", "square")
    assert robust[1] == 40
    assert list(robust[1:]) == sorted(robust[1:], reverse=True)
    assert set(total) == {60}
    assert set(finished) == {0}
    assert fractions == (0, 0, 0.25, 0.5, 0.75)
    assert robust[2] < 40
    # square asks once for each image that is left, at most once more a query, and once to judge what it found
    assert model.asked - asked[-1] <= robust[-1] * (30 + 3)
    assert int((model(found).argmax(1) == y).sum()) <= robust[-1]
    assert ((found - x).flatten(1).abs().amax(1) > 0).sum() > 50  # those wrong already are attacked, too: they may be transferred


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)])
def test_no_weaker_than_pgd(mlp, images, classes, shape) -> None:
    x, _ = images(80, shape, classes=classes)
    model = mlp(pixels=64, classes=classes)
    y = model(x).argmax(1)
    for eps in (0.02, 0.05):
        auto = model(AutoAttack(steps=20, queries=100)(model, x, y, eps)).argmax(1) == y
        pgd = model(PGD(steps=40, loss="margin", restarts=3)(model, x, y, eps)).argmax(1) == y
        assert int(auto.sum()) <= int(pgd.sum()) + 1


def test_a_row_names_the_suite_that_ran(mlp, images) -> None:
    x, y = images(6, classes=2)
    made = craft(mlp(classes=2), Images(x, y, torch.arange(6), "set"), AutoAttack(steps=2, queries=2), 0.1, 0)
    assert made.attack == "autoattack-binary"
    assert made.parameters["version"] == "binary"
    assert made.parameters["suite"]["square"]["queries"] == 2


def test_a_row_of_a_wrapped_suite_names_the_suite_that_ran_inside(mlp, images) -> None:
    x, _ = images(6, classes=4)
    pair = Pair(mlp(), mlp(seed=1))
    y = pair(x).argmax(1)
    made = craft(pair, Images(x, y, torch.arange(6), "set"), Joint(AutoAttack(steps=2, queries=2)), 0.1, 0)
    assert made.attack == "joint-autoattack-binary"  # it attacks a module of two classes, whatever those of the pair
    assert list(made.parameters["suite"]) == ["apgd-ce", "apgd-margin", "fab", "square"]
