"""Accuracy against shots, and the shots needed, on networks whose accuracy can be worked out."""

import math

import pytest
import torch

from qarmor.circuits.noise import Noise
from qarmor.evaluation.shots import accuracy_against_shots, shots_needed
from qarmor.models import QVC
from qarmor.models.shots import Shots
from qarmor.types import Images


class Steps(torch.nn.Module):
    """Right on a share of images that grows with the number of shots; the label is the first pixel above one half."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above = x.flatten(1)[:, 0] - 0.5
        wrong = x.flatten(1)[:, 1] >= self.share
        above = torch.where(wrong, -above, above)
        return torch.stack([-above, above], 1)


@pytest.fixture
def images() -> Images:
    """100 images: half of each class, the second pixel 0, .01, ..., .99."""
    n = torch.arange(100)
    x = torch.stack([(n % 2).float() * 0.8 + 0.1, n / 100 + 0.001], 1)
    return Images(x, n % 2, n, "steps/test")


def network(shots: int) -> Steps:
    return Steps(1 - 1 / shots)


def test_a_row_a_number_of_shots(images):
    rows = accuracy_against_shots(network, images, [2, 10, 100], name="steps", seed=4)
    assert [row.parameters for row in rows] == [{"shots": 2}, {"shots": 10}, {"shots": 100}]
    assert [row.successes for row in rows] == [50, 90, 99]
    row = rows[1]
    assert (row.dataset, row.source, row.target, row.attack, row.eps, row.seed) == ("steps/test", "", "steps", "", 0.0, 4)
    assert (row.metric, row.value, row.n, row.majority) == ("accuracy_with_shots", 0.9, 100, 0.5)
    assert row.low < 0.9 < row.high


def test_shots_needed_by_doubling(images):
    found = shots_needed(Steps(1.0), network, images, name="steps")
    assert (found.exact, found.wanted, found.majority, found.n) == (1.0, 0.95, 0.5, 100)
    assert found.shots == 32  # 16 shots: .93, 32: .96
    assert [row.parameters["shots"] for row in found.rows] == [1, 2, 4, 8, 16, 32, 64]
    assert shots_needed(Steps(1.0), network, images, name="steps", share=0.5).shots == 2
    assert shots_needed(Steps(1.0), network, images, name="steps", most=16).shots is None
    assert shots_needed(Steps(1.0), network, images, name="steps", most=32).shots == 32
    assert shots_needed(Steps(0.5), network, images, name="steps").wanted == pytest.approx(0.475)


def test_luck_once_is_not_enough(images):
    found = shots_needed(Steps(1.0), lambda shots: Steps(1.0 if shots == 4 or shots >= 64 else 0.2), images, name="steps")
    assert found.shots == 64


def test_a_circuit_against_the_binomial(seed):
    """One qubit, no layers: x = (cos, sin) has <Z> = cos 2a; the class of two wires read is the sign of z_0 - z_1, z_1 being 1 always."""
    qvc = QVC(2, 0, 2, logit_scale=1.0, shape=(4,))
    # weight on |10> is p: z_0 = 1 - 2p, z_1 = 1; class 1 as soon as one of S outcomes is 1, so with probability 1 - (1-p)^S
    p, n = 0.05, 4000
    x = torch.zeros(n, 4)
    x[:, 0], x[:, 2] = math.sqrt(1 - p), math.sqrt(p)
    images = Images(x, torch.ones(n, dtype=torch.int64), torch.arange(n), "one/test")
    rows = accuracy_against_shots(lambda shots: Shots(qvc, shots), images, [1, 5, 50], name="qvc", seed=seed)
    for row, shots in zip(rows, (1, 5, 50), strict=True):
        wanted = 1 - (1 - p) ** shots
        assert abs(row.value - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / n)
    state = torch.get_rng_state()
    again = accuracy_against_shots(lambda shots: Shots(qvc, shots), images, [1, 5, 50], name="qvc", seed=seed, batch_size=4000)
    assert torch.equal(torch.get_rng_state(), state)
    assert accuracy_against_shots(lambda shots: Shots(qvc, shots), images, [1, 5, 50], name="qvc", seed=seed, batch_size=4000) == again


def test_noise_needs_more_shots(seed):
    """Global depolarising scales expectations by .7^6 = .118 and changes no exact answer: it needs about 72 times the shots."""
    qvc = QVC(4, 6, 2, shape=(16,))
    x = torch.rand(2000, 16)
    images = Images(x, qvc.freeze()(x).argmax(1), torch.arange(2000), "own/test")
    needed = []
    for rate in (0.0, 0.3):
        noisy = qvc.freeze(Noise("global-depolarising", rate, "layer"))
        needed.append(shots_needed(noisy, lambda shots, model=noisy: Shots(model, shots), images, name="qvc", seed=seed))
    assert needed[0].exact == needed[1].exact == 1.0
    assert 16 <= needed[1].shots / needed[0].shots <= 300


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shots": []}, ValueError, r"shots must be one or more numbers that rise strictly, got \[\]"),
        ({"shots": [4, 2]}, ValueError, r"shots must be one or more numbers that rise strictly, got \[4, 2\]"),
        ({"shots": [0, 2]}, ValueError, "shots: a number of shots must be a whole number, 1 or more, got 0"),
        ({"shots": [1.5]}, ValueError, "shots: a number of shots must be a whole number, 1 or more, got 1.5"),
        ({"shots": [1], "seed": -1}, ValueError, "seed must not be negative, got -1"),
    ],
)
def test_bad_numbers_of_shots_are_refused(images, arguments, error, message):
    with pytest.raises(error, match=message):
        accuracy_against_shots(network, images, name="steps", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "share must be above 0 and at most 1, got 0; 95 % is 0.95"),
        ({"share": 95}, "share must be above 0 and at most 1, got 95; 95 % is 0.95"),
        ({"share": math.nan}, "share must be above 0 and at most 1, got nan"),
        ({"most": 0}, "most: a number of shots must be a whole number, 1 or more, got 0"),
    ],
)
def test_bad_searches_are_refused(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        shots_needed(Steps(1.0), network, images, name="steps", **arguments)
