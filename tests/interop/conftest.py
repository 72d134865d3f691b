"""Small networks trained on digits, and the libraries that may be missing."""

import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

from qarmor import load
from qarmor.models import QVC, ConvNet
from qarmor.training import Recipe, fit
from qarmor.types import Dataset, Images, frozen

NETWORKS = ("convnet", "qvc", "frozen-qvc")
IMAGES = 40


@pytest.fixture(scope="session")
def library() -> Callable[[str], ModuleType]:
    """A library of extra ``interop`` by name; the test is skipped where it is missing."""

    def find(name: str) -> ModuleType:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Foolbox 3.3.4 imports a name that SciPy has deprecated
            return pytest.importorskip(name, reason=f"{name} is not installed (extra: interop)")

    return find


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def images(digits) -> Images:
    return digits.test.subset(IMAGES, seed=0)


@pytest.fixture(scope="session")
def trained(digits) -> dict[str, nn.Module]:
    """A ConvNet, a QVC and the frozen QVC, as a user has them: in eval mode, the first two with trainable parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        networks = {"convnet": ConvNet(digits.shape, 10), "qvc": QVC.for_dataset(digits, 40)}
    for name, model in networks.items():
        fit(model, digits.train, Recipe(epochs=2, lr=3e-3) if name == "convnet" else Recipe(epochs=5, batch_size=32, lr=1e-2, schedule="cosine"))
        model.eval()
    return {**networks, "frozen-qvc": frozen(networks["qvc"])}


@pytest.fixture(params=NETWORKS)
def network(request, trained) -> nn.Module:
    return trained[request.param]
