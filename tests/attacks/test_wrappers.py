"""What all attacks that hold another attack have in common."""

import copy
import json

import pytest
import torch

from qarmor.attacks import FGSM, PGD
from qarmor.attacks.eot import EOT
from qarmor.attacks.joint import Joint, Pair
from qarmor.types import Attack
from tests.attacks.conftest import NoisyWeights

WRAPPED = [EOT(PGD(steps=3), samples=4), Joint(PGD(steps=3, loss="margin"))]


def test_wrappers_meet_the_protocol() -> None:
    for attack, name in zip(WRAPPED, ("eot-pgd", "joint-pgd"), strict=True):
        assert isinstance(attack, Attack)
        assert attack.name == name
        assert json.loads(json.dumps(attack.parameters)) == attack.parameters
        assert type(attack).built(**attack.parameters) == attack  # all that a study writes down is enough to build it
        assert eval(repr(attack), {"EOT": EOT, "Joint": Joint, "PGD": PGD}) == attack
        assert hash(attack) == hash(copy.deepcopy(attack))
    assert WRAPPED[0].parameters == {"attack": "pgd", "samples": 4, **PGD(steps=3).parameters}
    assert EOT(PGD()) != EOT(PGD(), samples=2)
    assert EOT(PGD()) != EOT(PGD(steps=3))


def test_built() -> None:
    assert EOT.built(samples=4, steps=3) == EOT(PGD(steps=3), 4)
    assert EOT.built(attack="fgsm", loss="margin") == EOT(FGSM(loss="margin"))
    assert Joint.built(attack="fgsm", batch_size=7).attack.batch_size == 7
    assert Joint.built(attack="qarmor.attacks.gradient:PGD", steps=3) == Joint(PGD(steps=3))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attack": "nonsense"}, "unknown attack 'nonsense'"),
        ({"attack": "pgd", "step": 3}, "attack 'pgd' does not take these options: .*'step'"),
        ({"attack": 3}, "attack must be the name of the inner attack, got 3"),
        ({"samples": 0}, "samples must be a whole number"),
    ],
)
def test_built_refuses(options, match) -> None:
    with pytest.raises(ValueError, match=match):
        EOT.built(**options)


def test_wrappers_refuse_what_is_no_attack() -> None:
    for wrapper in (EOT, Joint):
        for thing in ("pgd", PGD, None):
            with pytest.raises(TypeError, match=r"attack must be an attack, as qarmor.attacks.PGD\(\), got"):
                wrapper(thing)
        with pytest.raises(ValueError, match="attack 'eot-pgd' has a parameter 'attack' of its own, which '(eot|joint)' has, too: do not nest them"):
            wrapper(EOT(PGD()))


@pytest.mark.parametrize("eps", [1e-6, 0.1, torch.tensor([0, 1e-6, 0.01, 0.1, 0.3, 0.2, 0.3])])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
@pytest.mark.parametrize("attack", WRAPPED, ids=["eot", "joint"])
def test_within_the_ball_and_the_box(attack, mlp, images, assert_within, eps, shape) -> None:
    x, y = images(7, shape, classes=3)
    model = NoisyWeights(torch.ones(3, 12).tril(), 1.0) if isinstance(attack, EOT) else Pair(mlp(classes=3), mlp(classes=3, seed=1))
    model.train()
    found = attack(model, x, y, eps)
    assert_within(found, x, eps)
    assert not found.requires_grad
    assert model.training
    assert torch.equal(attack(model, x, y, 0), x)
    assert attack(model, x[:0], y[:0], 0.1).shape == x[:0].shape
