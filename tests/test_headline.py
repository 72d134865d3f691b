"""The README's accuracies, measured again (slow; needs the real images in QARMOR_DATA)."""

import os

import pytest

from qarmor import data, evaluation, models
from qarmor.training import fit, recipe_for

pytestmark = pytest.mark.slow
LEAST = {
    ("mnist", "qvc200", "tuned"): 0.95,
    ("mnist", "qvc200", "paper"): 0.84,
    ("mnist", "convnet", None): 0.985,
    ("mnist", "resnet18", None): 0.98,
    ("mnist", "linear", None): 0.91,
    ("fashion-mnist", "qvc200", "tuned"): 0.85,
    ("fashion-mnist", "qvc200", "paper"): 0.69,
    ("fashion-mnist", "convnet", None): 0.87,
    ("fashion-mnist", "resnet18", None): 0.85,
}


@pytest.mark.parametrize(("name", "network", "recipe"), LEAST, ids=lambda v: str(v))
def test_accuracy_on_all_test_images(name, network, recipe):
    if "QARMOR_DATA" not in os.environ:
        pytest.skip("QARMOR_DATA is not set")
    dataset = data.load(name)
    plan = recipe_for(network, recipe)
    model = models.build(network, dataset, seed=0, **plan.network)
    fit(model, dataset.train, plan, seed=0)
    assert evaluation.clean({network: model}, dataset.test)[0].value >= LEAST[name, network, recipe]
