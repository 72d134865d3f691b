"""What both kinds of checks need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The first entry of a state that is another one than before, or an empty string."""
    for name in {**before, **now}:
        if name not in now or name not in before:
            return name
        one, two = now[name], before[name]
        if isinstance(one, Tensor) and not torch.equal(one, two):
            return name
    return ""


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
