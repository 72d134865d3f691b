"""What perturbations look like: their share of energy at low spatial frequencies, and a gallery of examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qarmor.evaluation.craft import Adversarials

CHUNK = 1024


def low_frequency_share(delta: Tensor, cutoff: float = 0.25) -> Tensor:
    """Share of each perturbation's energy at low spatial frequency.

    The energy is that of the plain two-dimensional discrete Fourier transform, summed over channels (no window, no padding); the frequency of a
    component is its distance from zero in the plane, in units of Nyquist (half a cycle a pixel), so corners lie at sqrt(2). The mean (frequency 0)
    counts as low. White noise has the share of components below the cutoff: 37 of 784 for 28x28 and the default.

    Args:
        delta: perturbations ``(N, C, H, W)``, floating, any scale.
        cutoff: components strictly below it count, in units of Nyquist; above 0.

    Returns:
        float64 ``(N,)`` in [0, 1], on the device of ``delta``; NaN for a perturbation that is zero everywhere, since it has no energy to share.

    Raises:
        TypeError: not a floating tensor. ValueError: not four-dimensional, not finite, or a cutoff not above 0.
    """
    if not isinstance(delta, Tensor) or not delta.is_floating_point():
        raise TypeError(f"delta must be a floating tensor (N, C, H, W), got {delta.dtype if isinstance(delta, Tensor) else type(delta).__name__}")
    if delta.ndim != 4:
        raise ValueError(
            f"delta must be (N, C, H, W), since spatial frequency needs height and width; got shape {tuple(delta.shape)}, reshape it first"
        )
    if not cutoff > 0:
        raise ValueError(f"cutoff must be above 0, in units of Nyquist, got {cutoff}")
    if not delta.isfinite().all():
        raise ValueError("delta must be finite, got NaN or infinity")
    height, width = delta.shape[2:]
    rows, columns = (2 * torch.fft.fftfreq(size, dtype=torch.float64, device=delta.device) for size in (height, width))
    low = torch.hypot(rows[:, None], columns[None, :]) < cutoff
    shares = []
    for start in range(0, len(delta), CHUNK):
        part = delta[start : start + CHUNK].detach().double()
        # Scaled to a largest value of 1, so that the squares of tiny perturbations don't underflow; 0 / 0 is the NaN promised above.
        part = part / part.abs().amax((1, 2, 3), keepdim=True)
        energy = torch.fft.fft2(part).abs().square().sum(1)  # (B, H, W)
        shares.append((energy * low).sum((1, 2)) / energy.sum((1, 2)))
    return torch.cat(shares) if shares else torch.empty(0, dtype=torch.float64, device=delta.device)


@dataclass(frozen=True, eq=False)
class Gallery:
    """The first n adversarial images of a set beside their clean ones, and the low-frequency shares of the whole set.

    Attributes:
        dataset, source, attack: names.
        eps: radius, a float or float32 ``(n,)``.
        clean, adversarial, perturbation: float32 ``(n, C, H, W)``; ``perturbation`` is ``adversarial - clean``, in [-1, 1].
        labels: int64 ``(n,)``, true classes.
        clean_predictions, adversarial_predictions: int64 ``(n,)``, of the source.
        low_frequency_shares: float64 ``(N,)``, of **all** perturbations of the set; NaN where one is zero.
        mean_low_frequency_share: mean over those that are not zero; NaN if all are.
    """

    dataset: str
    source: str
    attack: str
    eps: float | Tensor
    clean: Tensor
    adversarial: Tensor
    perturbation: Tensor
    labels: Tensor
    clean_predictions: Tensor
    adversarial_predictions: Tensor
    low_frequency_shares: Tensor
    mean_low_frequency_share: float


def gallery(adversarials: Adversarials, n: int) -> Gallery:
    """Show ``n`` of the adversarial images, and measure the perturbations of all.

    Raises:
        ValueError: ``n`` not between 1 and the number of images, or images that are not ``(N, C, H, W)``.
    """
    if not 1 <= n <= len(adversarials.x):
        raise ValueError(f"n must be between 1 and {len(adversarials.x)}, the adversarial images there are, got {n}")
    images = adversarials.images
    delta = adversarials.x - images.x
    shares = low_frequency_share(delta)
    eps = adversarials.eps
    return Gallery(
        dataset=images.name,
        source=adversarials.source,
        attack=adversarials.attack,
        eps=eps[:n] if isinstance(eps, Tensor) else eps,
        clean=images.x[:n],
        adversarial=adversarials.x[:n],
        perturbation=delta[:n],
        labels=images.y[:n],
        clean_predictions=adversarials.source_clean_predictions[:n],
        adversarial_predictions=adversarials.source_adversarial_predictions[:n],
        low_frequency_shares=shares,
        mean_low_frequency_share=float(shares.nanmean()),
    )
