"""Draw the diagrams of the documentation, from the networks themselves: docs/diagrams/*.svg.

    python dev/draw_diagrams.py

tests/docs/test_diagrams.py fails where a file is not what would be drawn now.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from qarmor import models
from qarmor.report.overview import Architecture, architecture
from qarmor.report.overview_view import draw, who_judges
from qarmor.report.reader import Reader
from qarmor.studies.architecture import describe
from qarmor.types import Dataset, Images

FOLDER = Path(__file__).parents[1] / "docs" / "diagrams"
GREY, COLOUR = ((1, 28, 28), 10), ((3, 32, 32), 2)
CAMPS: Mapping[str, Sequence[str]] = {"classical": ("convnet", "resnet18"), "quantum": ("qvc200", "qvc500")}


def described(name: str, shape: tuple[int, ...], classes: int) -> Architecture:
    """What the network of this name is made of, for images of ``shape``."""
    one = Images(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), "")
    model = models.build(name, Dataset("", one, one, tuple(map(str, range(classes)))))
    return architecture(Reader(FOLDER, {"network": name, **describe(model, shape, classes)}))


def drawn() -> dict[str, str]:
    """The text of each file, by its name."""
    groups = {
        "convnet": [described("convnet", *GREY)],
        "resnet18": [described("resnet18", *GREY)],
        "circuit-10": [described(name, *GREY) for name in ("qvc200", "qvc500", "qvc1000")],
        "circuit-12": [described(name, *COLOUR) for name in ("qvc200", "qvc500")],
    }
    files = {f"{name}.svg": draw(tuple(group)).as_file() for name, group in groups.items()}
    return files | {f"attacks-{kind}.svg": who_judges(CAMPS, kind).as_file() for kind in CAMPS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
