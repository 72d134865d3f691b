import dataclasses
import math

import pytest
import torch

from qarmor.evaluation import craft, gallery, low_frequency_share


def _wave(fy, fx, size=32, channels=1):
    """A cosine of ``fy`` and ``fx`` cycles an image."""
    t = torch.arange(size, dtype=torch.float64) / size
    return torch.cos(2 * math.pi * (fy * t[:, None] + fx * t[None, :])).expand(1, channels, size, size)


@pytest.mark.parametrize(
    ("fy", "fx", "low"),
    # Nyquist is 16 cycles in 32 pixels, a quarter of it 4: radius 3 and (2, 3) lie below, 4, (3, 3) and all others don't
    [(0, 0, 1), (0, 1, 1), (3, 0, 1), (0, 3, 1), (2, 3, 1), (0, 4, 0), (4, 0, 0), (3, 3, 0), (16, 0, 0), (0, 29, 1), (9, 12, 0)],
)
def test_waves(fy, fx, low):
    assert float(low_frequency_share(_wave(fy, fx))[0]) == pytest.approx(low, abs=1e-12)


def test_a_mixture_has_the_share_of_its_energies():
    mixed = 2 * _wave(1, 0, channels=3) + 1 * _wave(10, 0, channels=3)
    assert float(low_frequency_share(mixed)[0]) == pytest.approx(0.8)


def test_channels_add_their_energies():
    delta = torch.cat([3 * _wave(0, 1), _wave(0, 12), _wave(12, 0)], dim=1)
    assert float(low_frequency_share(delta)[0]) == pytest.approx(9 / 11)


def test_cutoff_and_oblong_images():
    assert float(low_frequency_share(_wave(0, 6), cutoff=0.5)[0]) == pytest.approx(1)
    t = torch.arange(16) / 16
    oblong = torch.cos(2 * math.pi * 3 * t).expand(1, 1, 8, 16)  # 3 / 8 of Nyquist along the width
    assert float(low_frequency_share(oblong, 0.37)[0]) == pytest.approx(0, abs=1e-9)
    assert float(low_frequency_share(oblong, 0.38)[0]) == pytest.approx(1)


def test_white_noise_has_the_share_of_components():
    noise = torch.randn(3000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert float(low_frequency_share(noise).mean()) == pytest.approx(37 / 784, rel=0.02)


def test_scale_does_not_matter_and_zero_is_nan():
    delta = torch.cat([_wave(1, 0) + _wave(9, 0), 1e-200 * (_wave(1, 0) + _wave(9, 0)), torch.zeros(1, 1, 32, 32, dtype=torch.float64)])
    shares = low_frequency_share(delta)
    assert shares.dtype == torch.float64
    assert shares[:2].tolist() == pytest.approx([0.5, 0.5])
    assert shares[2].isnan()


@pytest.mark.parametrize(
    ("delta", "cutoff", "error", "message"),
    [
        (torch.zeros(5, 64), 0.25, ValueError, r"delta must be \(N, C, H, W\), .* got shape \(5, 64\), reshape it first"),
        (torch.zeros(1, 1, 4, 4), 0.0, ValueError, "cutoff must be above 0"),
        (torch.full((1, 1, 4, 4), torch.inf), 0.25, ValueError, "delta must be finite"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 0.25, TypeError, r"floating tensor \(N, C, H, W\), got torch.uint8"),
        ([0.0], 0.25, TypeError, "got list"),
    ],
)
def test_refusals(delta, cutoff, error, message):
    with pytest.raises(error, match=message):
        low_frequency_share(delta, cutoff)


def test_gallery(threshold, pictures, scripted):
    calm = scripted(lambda m, x, y, eps, seed: torch.where((torch.arange(6) == 5)[:, None, None, None], x, (0.5 - x).clamp(-0.05, 0.05) + x))
    made = craft({"t": threshold(0.52)}, pictures, calm, 0.1, 0)
    shown = gallery(made, 2)
    assert (shown.dataset, shown.source, shown.attack, shown.eps) == ("noise/test", "t", "scripted", 0.1)
    assert torch.equal(shown.clean, pictures.x[:2])
    assert torch.equal(shown.adversarial, made.x[:2])
    assert torch.equal(shown.perturbation, made.x[:2] - pictures.x[:2])
    assert torch.equal(shown.labels, pictures.y[:2])
    assert torch.equal(shown.clean_predictions, (pictures.x[:2, 0, 0, 0] > 0.52).long())
    assert torch.equal(shown.adversarial_predictions, (made.x[:2, 0, 0, 0] > 0.52).long())
    assert shown.low_frequency_shares.shape == (6,)
    assert torch.equal(shown.low_frequency_shares[:5], low_frequency_share(made.x - pictures.x)[:5])
    assert shown.low_frequency_shares.isnan().tolist() == [False] * 5 + [True]
    assert shown.mean_low_frequency_share == pytest.approx(float(shown.low_frequency_shares[:5].mean()))
    per_image = gallery(dataclasses.replace(made, eps=torch.full((6,), 0.1)), 4)
    assert per_image.eps.shape == (4,)


def test_gallery_refusals(threshold, images, pictures, sign_step):
    made = craft(threshold(), pictures, sign_step, 0.1, 0)
    for n in (0, 7):
        with pytest.raises(ValueError, match=f"n must be between 1 and 6, .* got {n}"):
            gallery(made, n)
    with pytest.raises(ValueError, match="needs height and width"):
        gallery(craft(threshold(), images, sign_step, 0.1, 0), 1)
