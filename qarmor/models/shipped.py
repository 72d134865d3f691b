"""Trained networks that come with QArmor: ``weights/DATASET/NETWORK.safetensors``, and ``weights/index.json`` that says what was measured of each.

``dev/ship_networks.py`` writes both.
"""

import difflib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "weights"
_NEAR = 3


@dataclass(frozen=True)
class Measured:
    """An accuracy: ``successes`` of ``n`` test images, with its Wilson 95 % interval; ``eps`` 0 without an attack."""

    eps: float
    successes: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The accuracy."""
        return self.successes / self.n


@dataclass(frozen=True)
class Shipped:
    """A network that comes with QArmor.

    Attributes:
        name: what ``models.load`` takes, ``"mnist/qvc200"``: its data set, and its name in the study that made it.
        architecture: in words.
        parameters: how many are trained.
        recipe: how it was trained, in words.
        clean: accuracy on all test images.
        robust: accuracy under ``attack`` on itself, by eps.
        attack: what ``attacks.build`` takes (``build``, ``options``) and ``Images.subset`` takes (``images``: ``n``, ``seed``), and its ``seed``.
        command: that made the network.
        made: the day, ISO.
        sha256: of the file.
    """

    name: str
    architecture: str
    parameters: int
    recipe: str
    clean: Measured
    robust: tuple[Measured, ...]
    attack: Mapping[str, Any]
    command: str
    made: str
    sha256: str

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.name.split("/")[0]

    @property
    def file(self) -> Path:
        """Where its weights are."""
        return FOLDER / f"{self.name}.safetensors"


@functools.cache
def shipped() -> tuple[Shipped, ...]:
    """All networks that come with QArmor, in the order of the studies that made them. Raises ValueError if the list is damaged."""
    path = FOLDER / "index.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            Shipped(**{**entry, "clean": Measured(**entry["clean"]), "robust": tuple(Measured(**each) for each in entry["robust"])})
            for entry in entries
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: the list of networks that come with QArmor cannot be read ({error}); install QArmor anew") from error


def saved_file(name: str | Path) -> Path:
    """The file that a network is saved in: ``name`` itself, or that of the network of this name that comes with QArmor. A file goes first.

    Raises:
        FileNotFoundError: neither; the message lists the nearest names.
        ValueError: the file of a network that comes with QArmor is not the one that was measured.
    """
    path, text = Path(name), Path(name).as_posix()
    if path.is_file():
        return path
    for network in shipped():
        if network.name == text:
            return _checked(network)
    raise FileNotFoundError(
        f"no network at {name}: give a .safetensors file that `qarmor train` wrote, a name that `qarmor models` lists"
        f"{_nearest(text)}, or package.module:factory"
    )


def is_saved(name: str) -> bool:
    """Whether ``name`` means a saved network, a .safetensors file or one that comes with QArmor, and not an architecture or a factory."""
    return name.endswith(".safetensors") or any(network.name == name for network in shipped())


def _checked(network: Shipped) -> Path:
    """The file of a network, if it is whole."""
    try:
        digest = hashlib.sha256(network.file.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{network.name}: its file {network.file} cannot be read ({error.strerror}); install QArmor anew") from error
    if digest != network.sha256:
        raise ValueError(f"{network.name}: its file {network.file} is not the one that was measured; install QArmor anew")
    return network.file


def _nearest(text: str) -> str:
    """The nearest names in words; ``""`` if none is near."""
    near = difflib.get_close_matches(text, [network.name for network in shipped()], _NEAR)
    return f" (near: {', '.join(near)})" if near else ""
