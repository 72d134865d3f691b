"""Classical controls: what a quantum classifier must beat before anything about it is called quantum."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qarmor.models.network import Network, class_count, pixel_count
from qarmor.models.quadratic import l2_normalised


class _Flat(Network):
    """A network on flattened images, l2-normalised (times ``sqrt(d)``, so that a pixel is of order one) if ``normalise``."""

    def __init__(self, shape: Sequence[int], classes: int, *, normalise: bool = False) -> None:
        super().__init__()
        self.shape, self.classes, self.normalise = tuple(shape), class_count(classes), normalise
        self.pixels = pixel_count(self.shape)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {"shape": list(self.shape), "classes": self.classes, "normalise": self.normalise}

    def _flat(self, x: Tensor) -> Tensor:
        self.check_input(x, self.shape)
        x = x.flatten(1)
        return l2_normalised(x) * self.pixels**0.5 if self.normalise else x


class Linear(_Flat):
    """Multinomial logistic regression: logits ``W x + b``.

    Args:
        shape: of an image.
        classes: number of logits.
        normalise: divide images by their l2 norm, and multiply by ``sqrt(d)``.
    """

    def __init__(self, shape: Sequence[int], classes: int, *, normalise: bool = False) -> None:
        super().__init__(shape, classes, normalise=normalise)
        self.layer = nn.Linear(self.pixels, self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        logits: Tensor = self.layer(self._flat(x))
        return logits


class MLP(_Flat):
    """One hidden layer of ``hidden`` ReLUs.

    Args:
        shape: of an image.
        classes: number of logits.
        hidden: width, 1 to 4096.
        normalise: divide images by their l2 norm, and multiply by ``sqrt(d)``.
    """

    def __init__(self, shape: Sequence[int], classes: int, *, hidden: int = 128, normalise: bool = False) -> None:
        super().__init__(shape, classes, normalise=normalise)
        if isinstance(hidden, bool) or not isinstance(hidden, int) or not 1 <= hidden <= 4096:
            raise ValueError(f"hidden must be a whole number from 1 to 4096, got {hidden!r}")
        self.hidden = hidden
        self.layers = nn.Sequential(nn.Linear(self.pixels, hidden), nn.ReLU(), nn.Linear(hidden, self.classes))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments, "hidden": self.hidden}

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        logits: Tensor = self.layers(self._flat(x))
        return logits
