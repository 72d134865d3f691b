"""What all tests share: a replayable seed, tolerances, tiny data."""

import os
import random

import pytest
import torch

from qarmor.types import Dataset, Images

# One thread each: tests run side by side, and threads that wait for one another are slower than none.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture
def seed() -> int:
    """A new seed a run, printed when the test fails; replay it with QARMOR_TEST_SEED."""
    value = int(os.environ.get("QARMOR_TEST_SEED") or random.SystemRandom().randrange(2**31))
    print(f"replay with QARMOR_TEST_SEED={value}")
    torch.manual_seed(value)
    return value


@pytest.fixture
def tiny() -> Dataset:
    """Three classes of 1x8x8 images that a linear model can tell apart: a bright third each, and noise."""
    generator = torch.Generator().manual_seed(1)

    def part(n: int, name: str) -> Images:
        y = torch.arange(n) % 3
        x = 0.4 * torch.rand(n, 1, 8, 8, generator=generator)
        for k in range(3):
            x[y == k, :, :, 2 * k : 2 * k + 3] += 0.5
        return Images(x.clamp(0, 1), y, torch.arange(n), f"tiny/{name}")

    return Dataset("tiny", part(120, "train"), part(30, "test"), ("left", "middle", "right"))
