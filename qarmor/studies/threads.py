"""How many threads torch computes with: part of what is run, never taken from the machine, since its sums depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """``threads`` threads inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
