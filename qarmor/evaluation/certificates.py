"""Certified radii of quadratic classifiers: what no attack can reach (ANCHORS F 2 to 6 and DESIGN 3.7).

A classifier names the largest of ``f_k(x) = x^T A_k x / ||x||^2``: every amplitude-encoded circuit, noisy ones too, and the quadratic control. With
``B_j = A_y - A_j`` an image of class y is named rightly while ``x^T B_j x > 0`` for all other j, and that can be bounded over a ball without trying.

Everything is computed in float64 and rounded down: what rounding may have taken here is subtracted by worst-case bounds (``_GUARD``), and what it may
take in the *model's* own precision by ``slack``, the gap between the two best f that must remain everywhere in the ball.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qarmor.evaluation.checks import checked_grid, first
from qarmor.evaluation.predict import majority
from qarmor.evaluation.statistics import wilson
from qarmor.types import Images, Row, Rows

_CHUNK = 256
_UNIT = 2.0**-53
_DOWN = 1 - 2.0**-36  # roundings that are relative, downwards
_GUARD = 16 * _UNIT  # times (d + 16), the largest Frobenius norm and the squared size of the vectors: well above the worst case of dot products
_NEARLY = 1 - 1e-5  # the multiplier stays this far from its pole, where errors of the eigenvectors would be magnified
# Expectations in float32 were off by at most 10 units of 2^-23 (frozen QVCs of 6 to 12 qubits, up to 200 layers, against float64), so a gap by 20.
_SLACK = 64


@dataclass(frozen=True, eq=False)
class Radii:
    """Certified radii, an image each, float64 ``(N,)``: nothing within a radius (the sphere included) is named wrongly.

    Certificates are about images that are named rightly: elsewhere, and where the gap is a tie or within the slack, all radii are 0.

    Attributes:
        correct: bool ``(N,)``, named rightly by more than the slack.
        hypothesis_testing_l2: F 2 and 3 (Weber et al. 2021), in l2.
        hypothesis_testing_linf: the same over ``sqrt(d)``.
        exact_l2: F 4, the distance to the nearest vector, of any sign and size, that is named wrongly, to one part in 100,000.
        exact_linf: the same over ``sqrt(d)``.
        linf: F 5, in closed form.
        linf_box: 5c, for attackers who stay in [0, 1]; never below ``linf``.
        slack: the gap that remains in the ball, on the scale of f.
    """

    correct: Tensor
    hypothesis_testing_l2: Tensor
    hypothesis_testing_linf: Tensor
    exact_l2: Tensor
    exact_linf: Tensor
    linf: Tensor
    linf_box: Tensor
    slack: float

    @property
    def in_linf(self) -> Mapping[str, Tensor]:
        """The l_inf radii by the name of their certificate, as a rule from the smallest to the largest."""
        return {
            "hypothesis_testing": self.hypothesis_testing_linf,
            "exact_l2": self.exact_linf,
            "linf": self.linf,
            "linf_box": self.linf_box,
        }

    def certified(self, eps: float, certificate: str = "linf_box") -> Tensor:
        """Which images are certified at the l_inf radius ``eps``, bool ``(N,)``: those named rightly, for eps 0."""
        if certificate not in self.in_linf:
            raise ValueError(f"certificate must be one of {', '.join(self.in_linf)}, got {certificate!r}")
        return self.correct & (self.in_linf[certificate] >= eps)


def radii(A: Tensor, x: Tensor, y: Tensor, *, slack: float | None = None) -> Radii:
    """Certified radii of ``argmax_k x^T A_k x`` (``FrozenQVC.quadratic().A``, or a noisy QVC's or a control's A).

    Hypothesis testing takes the forms for expectations of observables with values in [-1, 1], as <Z>: its effect is ``(2 I + B_j) / 4``, or, where
    B_j is so large that this is none, ``(I + B_j / ||B_j||) / 2``. The others do not depend on a common factor of the forms, but for the slack.

    Costs an eigendecomposition ``(d, d)`` for every pair of classes of which one is among the labels, and about 20 products of the images with A.

    Args:
        A: float ``(K, d, d)``, K at least 2, restricted to the pixels; only the symmetric part matters.
        x: images ``(N, C, H, W)`` or ``(N, d)`` with d values each, in [0, 1].
        y: int64 ``(N,)``, true labels.
        slack: the gap that must remain in the ball, on the scale of f. None for 64 units in the last place of the dtype of A, which is taken for the
            model's precision (times half the norm of B_j, if that is above 1): what it computes may differ from the exact forms.

    Raises:
        TypeError: A or x of another dtype, or labels that are not int64.
        ValueError: shapes that do not fit, values that are not finite, pixels outside [0, 1], labels that A doesn't have, or a negative slack.
    """
    margin = _check(A, x, y, slack)
    forms, images, labels = A.detach().double(), x.detach().flatten(1).to(A.device, torch.float64), y.to(A.device)
    forms = (forms + forms.transpose(1, 2)) / 2
    problem = _Problem(forms, margin)
    gaps = torch.stack([((images @ form) * images).sum(1) for form in forms], 1)  # (N, K)
    rivals = gaps.scatter(1, labels[:, None], -torch.inf)
    chosen = (gaps.gather(1, labels[:, None])[:, 0] > rivals.amax(1)).nonzero()[:, 0]  # the rest has no radius, and needs no work
    correct = torch.zeros(len(labels), dtype=torch.bool, device=A.device)
    found = {name: torch.zeros(len(labels), dtype=torch.float64, device=A.device) for name in ("testing", "exact", "linf", "box")}
    if len(chosen):
        some, classes = images[chosen], labels[chosen]
        found["exact"][chosen] = problem.prepare(some, classes)
        for start in range(0, len(chosen), _CHUNK):
            part = slice(start, start + _CHUNK)
            right, testing, linf = problem.closed(some[part], classes[part])
            box = problem.boxed(some[part], classes[part], linf)
            correct[chosen[part]] = right
            for name, value in (("testing", testing), ("linf", linf), ("box", box)):
                found[name][chosen[part]] = value
    found = {name: torch.where(correct, value, 0).to(x.device) for name, value in found.items()}
    down = _DOWN / math.sqrt(forms.shape[1])
    return Radii(
        correct=correct.to(x.device),
        hypothesis_testing_l2=found["testing"],
        hypothesis_testing_linf=found["testing"] * down,
        exact_l2=found["exact"],
        exact_linf=found["exact"] * down,
        linf=found["linf"],
        linf_box=found["box"],
        slack=margin,
    )


def _check(A: Tensor, x: Tensor, y: Tensor, slack: float | None) -> float:
    """The slack, if the arguments of ``radii`` are sound."""
    for name, value in (("A", A), ("x", x)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise TypeError(f"{name} must be a float tensor, got {value.dtype if isinstance(value, Tensor) else type(value).__name__}")
        if not value.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if A.ndim != 3 or A.shape[1] != A.shape[2] or len(A) < 2:
        raise ValueError(f"A must be (K, d, d) with K at least 2, got shape {tuple(A.shape)}; pass the A of FrozenQVC.quadratic()")
    if x.ndim < 2 or x[0:1].numel() != A.shape[1] * len(x[0:1]):
        raise ValueError(
            f"A is about images of {A.shape[1]} values, got x of shape {tuple(x.shape)}; restrict A to the rows and columns of the pixels "
            "(a QVC that was made with shape=... does)"
        )
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise TypeError(f"y must be int64 labels, got {y.dtype if isinstance(y, Tensor) else type(y).__name__}; use y.long()")
    if tuple(y.shape) != (len(x),):
        raise ValueError(f"y must hold one label an image, shape ({len(x)},), got {tuple(y.shape)}")
    if len(x) and (x.min() < 0 or x.max() > 1):
        raise ValueError(f"x must lie within [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}; rescale the data")
    bad = (y < 0) | (y >= len(A))
    if bad.any():
        raise ValueError(f"y must hold labels 0 to {len(A) - 1}, since A has {len(A)} forms, got {int(y[first(bad)])}")
    if slack is None:
        return _SLACK * torch.finfo(A.dtype).eps
    if isinstance(slack, bool) or not isinstance(slack, int | float) or not 0 <= slack < math.inf:
        raise ValueError(f"slack must be a finite number, 0 or more, got {slack!r}")
    return float(slack)


class _Problem:
    """The forms, with what bounds need of every pair of classes; ``prepare`` before the rest.

    Attributes:
        lowest: ``(K, K)``, a lower bound of the smallest eigenvalue of ``B_j`` for class and rival j.
        norm: ``(K, K)``, an upper bound of the norm of ``B_j``.
        slack: ``(K, K)``, the gap that must remain.
    """

    def __init__(self, forms: Tensor, slack: float) -> None:
        """``forms`` are float64 and symmetric, ``(K, d, d)``."""
        self.forms, self.base = forms, slack
        self.classes, self.d = forms.shape[:2]
        self.guard = _GUARD * (self.d + 16) * float(torch.linalg.vector_norm(forms, dim=(1, 2)).max())
        self.lowest, self.norm, self.slack = forms.new_zeros(3, self.classes, self.classes)

    def prepare(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the tables for the labels ``y``, and return the exact l2 radius of images ``x`` ``(N, d)``."""
        squared = x.square().sum(1)
        here = set(y.tolist())
        for a in range(self.classes):
            for b in range(a + 1, self.classes):
                if not here & {a, b}:
                    continue
                values, vectors = torch.linalg.eigh(self.forms[a] - self.forms[b])
                error = 2 * self.guard  # LAPACK's is a modest multiple of the unit times the norm
                self.lowest[a, b], self.lowest[b, a] = values[0] - error, -values[-1] - error
                self.norm[a, b] = self.norm[b, a] = values.abs().max() + error
                self.slack[a, b] = self.slack[b, a] = self.base * max(1.0, float(self.norm[a, b]) / 2)
                for label, spectrum in ((a, values), (b, -values)):
                    which = (y == label).nonzero()[:, 0]
                    if len(which):
                        parts = (x[which] @ vectors).square()
                        bound = _distance_squared(parts, spectrum - error - self.slack[a, b])
                        squared[which] = torch.minimum(squared[which], bound)
        return squared.sqrt() * _DOWN

    def differences(self, c: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every rival class: the images ``which`` have it as one, ``(B_j - slack) c`` ``(n, d)`` and their entries ``(n, 3)`` of the tables."""
        products = c @ self.forms  # (K, N, d)
        own = products[y, torch.arange(len(y), device=y.device)]
        for j in range(self.classes):
            which = (y != j).nonzero()[:, 0]
            classes = y[which]
            table = torch.stack([self.lowest[classes, j] - self.slack[classes, j], self.norm[classes, j], self.slack[classes, j]], 1)
            yield which, own[which] - products[j][which] - table[:, 2:] * c[which], table

    def closed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the gap exceeds the slack, the l2 radius by hypothesis testing and the l_inf radius by formula 5, ``(N,)`` each."""
        testing, linf = torch.full((2, len(x)), torch.inf, dtype=x.dtype, device=x.device)
        right = torch.ones_like(y, dtype=torch.bool)
        for which, product, table in self.differences(x, y):
            lowest, norm, slack = table.T
            size = x[which].square().sum(1)
            gap = (x[which] * product).sum(1) - self.guard * size  # x^T B x, less the slack
            right[which] &= gap > 0
            gap = gap.clamp(min=0)
            # p - q and p + q = 1, for p = 1/2 + gap / (2 norm): sqrt(p) - sqrt(q) without cancellation
            apart = (gap / size.clamp(min=torch.finfo(torch.float64).tiny) / (norm.clamp(min=2) + slack)).clamp(max=1)
            root = apart / (((1 + apart) / 2).sqrt() + ((1 - apart) / 2).sqrt())
            testing[which] = torch.minimum(testing[which], size.sqrt() * root / math.sqrt(2))
            linear = product.abs().sum(1) + self.guard * (self.d * size).sqrt()
            curved = self.d * (-lowest).clamp(min=0)
            linf[which] = torch.minimum(linf[which], gap / (linear + (linear.square() + curved * gap).sqrt()))
        return right, testing * _DOWN, torch.where(right, linf, 0) * _DOWN

    def holds(self, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
        """Formula 5c at ``eps`` ``(N,)``: bool ``(N,)``."""
        low, high = (x - eps[:, None]).clamp(min=0), (x + eps[:, None]).clamp(max=1)
        c, h = (low + high) / 2, (high - low) / 2 + 2.0**-51  # a little wider than the roundings
        result = torch.ones_like(y, dtype=torch.bool)
        for which, product, table in self.differences(c, y):
            here, wide = c[which], h[which]
            size, spread = here.square().sum(1), wide.square().sum(1)
            value = (here * product).sum(1) - 2 * (wide * product.abs()).sum(1) + table[:, 0].clamp(max=0) * spread
            result[which] &= value > self.guard * (size.sqrt() + spread.sqrt()).square()
        return result

    def boxed(self, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        """The l_inf radius by formula 5c, at least ``start`` ``(N,)``, which is certified, to one part in 4,000.

        Boxes are nested, so any eps at which the formula holds is a radius. It need not hold at every smaller one; that costs tightness, not truth.
        """
        low, high = start, torch.full_like(start, torch.inf)
        while (high.isinf() & (low > 0)).any():  # no box of half-width 1 is certified: it contains 0
            trial = torch.where(high.isinf(), 2 * low, low)
            fine = self.holds(x, y, trial)
            low, high = torch.where(fine, trial, low), torch.where(fine | high.isfinite(), high, trial)
        high = torch.where(low > 0, high, 0)
        for _ in range(12):
            middle = (low + high) / 2
            fine = self.holds(x, y, middle)
            low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
        return torch.where(start > 0, low, 0)


def _distance_squared(parts: Tensor, spectrum: Tensor) -> Tensor:
    """A lower bound of the least ``||delta||^2`` with ``(x + delta)^T B (x + delta) <= 0``, ``(N,)``: the value itself to 2e-5.

    Any multiplier with ``I + lambda B > 0`` gives a bound, ``sum_i lambda b_i c_i^2 / (1 + lambda b_i)``, which is concave in it. The largest is the
    least distance, since one quadratic constraint leaves no duality gap (Boyd and Vandenberghe 2004, appendix B); it lies where the derivative
    vanishes, that is where ``(I + lambda B)^-1 x`` lies on the boundary.

    Args:
        parts: float64 ``(N, d)``, squared components ``c_i^2`` of the images along the eigenvectors of B.
        spectrum: ``(d,)``, its eigenvalues ``b_i``, lowered by their error.
    """
    scale = max(-float(spectrum.min()), 1e-12 * float(spectrum.abs().max()), torch.finfo(torch.float64).tiny)
    b = spectrum / scale
    low, high = parts.new_zeros(len(parts), 1), parts.new_full((len(parts), 1), _NEARLY)
    for _ in range(40):
        middle = (low + high) / 2
        rising = (parts * b / (1 + middle * b).square()).sum(1, keepdim=True) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    weights = low * b / (1 + low * b)
    # the eigenvectors, and so c, are right to d^1.5 units or better; w c is the perturbation itself, so an error counts with its length
    error = 16 * _UNIT * parts.shape[1] ** 1.5 * parts.sum(1).sqrt()
    bound: Tensor = (parts * weights).sum(1) - 2 * error * (parts * weights.square()).sum(1).sqrt() - weights.abs().amax(1) * error.square()
    return bound.clamp(min=0)


def certified_rows(radii: Radii, images: Images, target: str, eps_grid: Sequence[float], certificate: str = "linf_box") -> Rows:
    """Certified accuracy against eps: one row an eps of metric ``"certified_accuracy"``, the share of images certified at it.

    No attack can bring the accuracy below it. Source and target are ``target``, the attack is ``"certificate"`` and the parameters say which.

    Raises:
        TypeError, ValueError: a grid that is empty, falls, repeats or leaves [0, 1]; images of another number; an unknown certificate.
    """
    grid = checked_grid(eps_grid)
    if len(images) != len(radii.correct):
        raise ValueError(f"radii are of {len(radii.correct)} images, got {len(images)} in {images.name!r}; pass those that radii was asked about")
    rows = Rows()
    for eps in grid:
        hits = int(radii.certified(eps, certificate).sum())
        low, high = wilson(hits, len(images))
        rows.append(
            Row(
                dataset=images.name,
                source=target,
                target=target,
                attack="certificate",
                parameters={"certificate": certificate, "slack": radii.slack},
                eps=eps,
                metric="certified_accuracy",
                value=hits / len(images),
                successes=hits,
                n=len(images),
                low=low,
                high=high,
                majority=majority(images.y),
                seed=0,
            )
        )
    return rows
