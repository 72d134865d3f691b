"""The real data sets, where they are."""

import os
from pathlib import Path

import pytest

from qarmor import data

ROOT = os.environ.get("QARMOR_DATA")  # read before the fixture in conftest.py hides it
SIZES = {"mnist": (60000, 10000), "fashion-mnist": (60000, 10000), "cifar2": (10000, 2000)}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar2", "celeba"])
@pytest.mark.filterwarnings("ignore:.*cannot be identified as the official:UserWarning")
def test_real_images(name):
    if ROOT is None:
        pytest.skip("QARMOR_DATA is not set")
    if not next(d for d in data.describe(Path(ROOT)) if d.name == name).present:
        pytest.skip(f"{name} is not in {ROOT}")
    dataset = data.load(name, ROOT)
    report = data.check(name, ROOT)
    if name in SIZES:
        assert (len(dataset.train), len(dataset.test)) == SIZES[name]
    if "mnist" in name:
        assert all(file.official for file in report.files)
    assert (dataset.train.x.amin(), dataset.train.x.amax()) == (0, 1)
