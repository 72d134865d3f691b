"""Sums over the content of data sets and networks, wherever they come from."""

import hashlib

import torch
from torch import nn

from qarmor.types import Dataset


def content_digest(dataset: Dataset) -> str:
    """sha256 (hex) of what is in a data set: images, labels, number of classes; not of its name or of how it is stored."""
    total = hashlib.sha256(str((len(dataset.classes), tuple(dataset.train.x.shape), tuple(dataset.test.x.shape))).encode())
    for part in (dataset.train, dataset.test):
        for tensor in (part.x, part.y):
            total.update(tensor.contiguous().numpy().data)
    return total.hexdigest()


def state_digest(model: nn.Module) -> str:
    """sha256 (hex) of all parameters and buffers of a module."""
    total = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
