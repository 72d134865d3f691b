"""The quantum variational classifier of West et al. 2023, and its frozen form."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qarmor.circuits import choice, dense
from qarmor.circuits import noise as noisy
from qarmor.circuits.ansatz import Ansatz
from qarmor.circuits.noise import Noise
from qarmor.models.network import Network, class_count
from qarmor.models.quadratic import Quadratic, l2_normalised
from qarmor.types import Classifier, Dataset

Padding = Literal["end", "centre"]


def _check_size(shape: Sequence[int], qubits: int) -> None:
    pixels = math.prod(shape)
    if pixels > 1 << qubits:
        needed = (pixels - 1).bit_length()
        raise ValueError(f"images of shape {tuple(shape)} have {pixels} pixels and need {needed} qubits, got {qubits} qubits")


def embed(x: Tensor, qubits: int, padding: Padding) -> Tensor:
    """Images ``(B, C, H, W)`` or ``(B, d)`` padded with zeros to ``(B, 2^qubits)``, not yet normalised.

    ``"centre"`` puts an image in the middle of the largest square of which C fit, and values without height and width in the middle.

    Raises:
        ValueError: more pixels than 2^qubits.
    """
    _check_size(x.shape[1:], qubits)
    if padding == "centre" and x.ndim == 4:
        side = math.isqrt((1 << qubits) // x.shape[1])
        below, right = side - x.shape[2], side - x.shape[3]
        if below >= 0 and right >= 0:
            x = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
    x = x.flatten(1)
    missing = (1 << qubits) - x.shape[1]
    before = missing // 2 if padding == "centre" else 0
    return F.pad(x, (before, missing - before))


class QVC(Network):
    """Amplitude encoding, ``layers`` layers of single-qubit rotations and CZs, logits from <Z_0>, ..., <Z_{K-1}> (paper, section II.B).

    Images are flattened, padded with zeros to 2^qubits and divided by their l2 norm. An all-zero image has zero logits and zero gradient.

    Args:
        qubits: 1 to 14.
        layers: 0 or more.
        classes: K, 2 to ``qubits``.
        logit_scale: factor of the expectations; None for 2 * 2^(qubits/2), twice the inverse spread of <Z> of a random circuit.
        learn_scale: whether the factor is trained.
        init: angles drawn ``"uniform"`` from [0, 2 pi) or ``"normal"`` from N(0, 1).
        padding: zeros at the ``"end"``, or around the image, which is then in the ``"centre"`` of the largest square that fits.
        shape: shape of one image, if known: then other shapes are refused, and ``freeze`` drops the padding.
        implementation: of the circuit, see ``qarmor.circuits.expectations``.

    Attributes:
        weights: Parameter ``(layers, qubits, 3)``, the angles (phi, theta, omega) of Rot = RZ(omega) RY(theta) RZ(phi).

    Raises:
        ValueError: more classes than qubits, more pixels than 2^qubits (the message names the number needed), or values out of range.
    """

    weights: Tensor
    logit_scale: Tensor

    def __init__(
        self,
        qubits: int,
        layers: int,
        classes: int,
        logit_scale: float | None = None,
        learn_scale: bool = True,
        init: Literal["uniform", "normal"] = "uniform",
        padding: Padding = "end",
        shape: Sequence[int] | None = None,
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        self.ansatz = Ansatz(qubits, layers)
        if class_count(classes) > qubits:
            raise ValueError(f"{classes} classes need at least {classes} qubits, one readout each, got {qubits} qubits")
        if init not in ("uniform", "normal"):
            raise ValueError(f"init must be 'uniform' or 'normal', got {init!r}")
        if padding not in ("end", "centre"):
            raise ValueError(f"padding must be 'end' or 'centre', got {padding!r}")
        scale = 2 * 2 ** (qubits / 2) if logit_scale is None else float(logit_scale)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"logit_scale must be positive and finite, got {logit_scale!r}")
        choice.choose(torch.float32, "cpu", implementation)
        self.classes, self.init, self.padding, self.implementation = classes, init, padding, implementation
        self.initial_scale, self.learn_scale = scale, learn_scale
        self.shape = None if shape is None else tuple(shape)
        if self.shape is not None:
            _check_size(self.shape, qubits)
        angles = torch.rand(self.ansatz.weights_shape) * (2 * math.pi) if init == "uniform" else torch.randn(self.ansatz.weights_shape)
        self.weights = nn.Parameter(angles)
        if learn_scale:
            self.logit_scale = nn.Parameter(torch.tensor(scale))
        else:
            self.register_buffer("logit_scale", torch.tensor(scale))

    @classmethod
    def for_dataset(cls, dataset: Dataset, layers: int, *, qubits: int | None = None, **options: Any) -> "QVC":
        """A QVC with as many qubits as the data set's pixels and classes need, ``max(ceil(log2 d), K)``, or with ``qubits``, if those are enough."""
        pixels, classes = math.prod(dataset.shape), len(dataset.classes)
        needed = max(math.ceil(math.log2(pixels)), classes, 1)
        if qubits is not None and qubits < needed:
            raise ValueError(f"qubits must be {needed} or more for {pixels} pixels and {classes} classes, got {qubits}")
        return cls(needed if qubits is None else qubits, layers, classes, shape=dataset.shape, **options)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {
            "qubits": self.ansatz.qubits,
            "layers": self.ansatz.layers,
            "classes": self.classes,
            "logit_scale": self.initial_scale,
            "learn_scale": self.learn_scale,
            "init": self.init,
            "padding": self.padding,
            "shape": None if self.shape is None else list(self.shape),
            "implementation": self.implementation,
        }

    def _amplitudes(self, x: Tensor) -> Tensor:
        if self.shape is not None:
            self.check_input(x, self.shape)
        return embed(x, self.ansatz.qubits, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)`` or ``(B, d)``."""
        states = l2_normalised(self._amplitudes(x))
        return self.logit_scale * choice.expectations(states, self.weights, self.classes, implementation=self.implementation)

    @overload
    def freeze(self, noise: None = None) -> "FrozenQVC": ...

    @overload
    def freeze(self, noise: Noise) -> Quadratic: ...

    def freeze(self, noise: Noise | None = None) -> "FrozenQVC | Quadratic":
        """The same classifier, built to be attacked: logits and input gradients at a cost that does not depend on depth.

        Without noise it is one dense matrix. With noise it is the circuit whose expectations the noise has changed, exactly, as quadratic forms, for
        images of the QVC's shape (or all 2^qubits values, if it knows none). Computed in float64 and kept in the precision of the weights: noise that
        leaves gaps between expectations of 1e-7 of their size, as amplitude damping can, wants ``qvc.double().freeze(noise)``.

        Raises:
            TypeError: ``noise`` is no ``qarmor.circuits.noise.Noise``.
        """
        if noise is None:
            return FrozenQVC(self)
        forms = noisy.forms(self.weights, self.classes, noise, self.positions())
        model = Quadratic(forms.to(self.weights.device, self.weights.dtype), float(self.logit_scale.detach()))
        return model.eval().requires_grad_(False)

    def positions(self) -> Tensor:
        """Which amplitude each pixel becomes, int64 ``(d,)``; all of them where the shape of the images is not known."""
        if self.shape is None:
            return torch.arange(self.ansatz.dimension, device=self.weights.device)
        return embed(self.weights.new_ones(1, *self.shape), self.ansatz.qubits, self.padding)[0].nonzero().squeeze(1)


class FrozenQVC(Classifier):
    """A QVC with fixed weights as ``logits = scale * ((x/||x||) M)^2 S`` (``qarmor.circuits.dense``); made by ``QVC.freeze``.

    Where the QVC knows the shape of its images, M has a row a pixel; else one for every amplitude, and images are padded as the QVC does.
    """

    matrix: Tensor
    signs: Tensor
    logit_scale: Tensor

    def __init__(self, qvc: QVC) -> None:
        super().__init__()
        self.qubits, self.padding, self.shape, self.classes = qvc.ansatz.qubits, qvc.padding, qvc.shape, qvc.classes
        weights = qvc.weights.detach()
        implementation = "auto" if qvc.implementation == "reference" else qvc.implementation
        self.register_buffer("matrix", dense.matrix(weights, qvc.positions(), implementation=implementation))
        self.register_buffer("signs", dense.signs(self.qubits, self.classes, dtype=weights.dtype, device=weights.device))
        self.register_buffer("logit_scale", qvc.logit_scale.detach().clone())
        self.eval()

    def _vectors(self, x: Tensor) -> Tensor:
        if self.shape is None:
            x = embed(x, self.qubits, self.padding)
        elif tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this frozen QVC was made for images of shape {self.shape}, got a batch of shape {tuple(x.shape)}")
        return l2_normalised(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images as the QVC takes them."""
        return self.logit_scale * dense.expectations(self._vectors(x), self.matrix, self.signs)

    def probabilities(self, x: Tensor) -> Tensor:
        """Probability of each basis state when all qubits are measured, float64 ``(B, 2^qubits)``; zeros for an all-zero image."""
        real, imaginary = (self._vectors(x) @ self.matrix).double().square().chunk(2, dim=1)
        return real + imaginary

    def quadratic(self) -> Quadratic:
        """The same classifier as quadratic forms ``A_k``, ``(K, d, d)``, with d the rows of M. It takes images of d values."""
        forms = dense.forms(self.matrix, self.classes)
        return Quadratic(forms, float(self.logit_scale)).eval().requires_grad_(False)
