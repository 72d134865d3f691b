"""ResNet18 (He et al. 2016, Table 1), with its ImageNet stem, for small images."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qarmor.models.network import Network, class_count, image_shape


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut, projected where the shape changes (He et al., Fig. 2, option B)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        changes = stride != 1 or before != after
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


class ResNet18(Network):
    """18 layers: a 7x7 convolution with stride 2, 3x3 max pooling with stride 2, eight residual blocks, mean pooling, one linear layer.

    Args:
        shape: ``(C, H, W)`` of an image, 1 or 3 channels, sides from 8 to 32.
        classes: number of logits.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = image_shape(shape), class_count(classes)
        self.stem = nn.Sequential(nn.Conv2d(self.shape[0], 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks = []
        before = 64
        for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [_Block(before, after, stride), _Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(512, self.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {"shape": list(self.shape), "classes": self.classes}

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)``."""
        self.check_input(x, self.shape)
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits
