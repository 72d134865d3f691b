import torch

from qarmor.attacks import Streams
from qarmor.attacks.streams import _GOLDEN, _signed, mix


def reference(state: int, count: int) -> list[int]:
    """SplitMix64 as its authors publish it, on Python integers."""
    words = []
    for _ in range(count):
        state = (state + _GOLDEN) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(z ^ (z >> 31))
    return words


def test_mix_is_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert reference(1234567, 5) == published
    words = mix(torch.tensor([_signed(1234567 + i * _GOLDEN) for i in range(1, 6)]))
    assert [w % 2**64 for w in words.tolist()] == published


def test_an_images_numbers_depend_on_seed_and_position_only() -> None:
    whole = Streams(3, torch.arange(10))
    part = Streams(3, torch.tensor([7, 2]))
    for shape in ((5,), (2, 3), ()):
        assert torch.equal(whole.uniform(*shape)[[7, 2]], part.uniform(*shape))


def test_streams_go_on_and_differ() -> None:
    streams = Streams(0, torch.arange(200))
    drawn = torch.cat([streams.uniform(50), streams.uniform(50), Streams(1, torch.arange(200)).uniform(50)], dim=1)
    assert drawn.dtype == torch.float64
    assert len(drawn.unique()) == drawn.numel()  # no number twice: streams, draws and seeds are all different


def test_uniform() -> None:
    drawn = Streams(0, torch.arange(1000)).uniform(100)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, 20, 0, 1)
    assert ((counts - 5000) ** 2 / 5000).sum() < 50  # chi squared, 19 degrees of freedom: p = 1e-4
    assert torch.corrcoef(drawn[:4]).fill_diagonal_(0).abs().max() < 0.5
    assert abs(torch.corrcoef(torch.stack([drawn[:-1].flatten(), drawn[1:].flatten()]))[0, 1]) < 0.02  # neighbours
