"""The paper's convolutional network (Methods, Table I)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qarmor.models.network import Network, class_count, image_shape

_MAPS = (64, 128, 256)
_HIDDEN = 256


class ConvNet(Network):
    """Three 3x3 convolutions (64, 128, 256 maps), each with ReLU and 2x2 max pooling, then two fully connected layers with ReLU between.

    Args:
        shape: ``(C, H, W)`` of an image, 1 or 3 channels, sides from 8 to 32.
        classes: number of logits.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = image_shape(shape), class_count(classes)
        channels, height, width = self.shape
        layers: list[nn.Module] = []
        for before, after in zip((channels, *_MAPS), _MAPS, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(_MAPS[-1] * (height // 8) * (width // 8), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, self.classes)
        )

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {"shape": list(self.shape), "classes": self.classes}

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)``."""
        self.check_input(x, self.shape)
        logits: Tensor = self.classifier(self.features(x))
        return logits
