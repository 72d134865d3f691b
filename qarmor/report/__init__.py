"""A directory of results as one page that opens offline. It reads files and computes nothing."""

from __future__ import annotations

from pathlib import Path


def write(directory: Path) -> Path:
    """Turn the results in ``directory`` into ``directory/index.html`` and ``directory/figures/*.svg``; see ``qarmor.report.page.write``."""
    from qarmor.report import page  # matplotlib is loaded only when a page is made

    return page.write(directory)


__all__ = ["write"]
