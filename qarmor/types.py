"""The words that all modules share: images, data sets, classifiers, attacks and result rows."""

from __future__ import annotations

import copy
import csv
import dataclasses
import importlib
import importlib.metadata
import io
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas

CODE_VERSION = importlib.metadata.version("qarmor")


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their labels.

    Attributes:
        x: float32 ``(N, C, H, W)`` or ``(N, d)``, values in [0, 1].
        y: int64 ``(N,)``, class labels.
        index: int64 ``(N,)``, positions in the original set.
        name: the data set and part they come from, e.g. ``"mnist/test"``.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    name: str

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.index):
            raise ValueError(f"images {self.name!r}: x, y and index differ in length: {len(self.x)}, {len(self.y)}, {len(self.index)}")
        if self.x.ndim not in (2, 4):
            raise ValueError(f"images {self.name!r}: x must be (N, C, H, W) or (N, d), got shape {tuple(self.x.shape)}")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, which: slice | Tensor) -> Images:
        return Images(self.x[which], self.y[which], self.index[which], self.name)

    def subset(self, n: int, seed: int) -> Images:
        """``n`` images drawn without replacement with ``seed``, in their original order."""
        if not 1 <= n <= len(self):
            raise ValueError(f"subset: n must be between 1 and {len(self)} (the images in {self.name!r}), got {n}")
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n]
        return self[drawn.sort().values.to(self.y.device)]

    def to(self, device: str | torch.device) -> Images:
        """The same images on ``device``."""
        return Images(self.x.to(device), self.y.to(device), self.index.to(device), self.name)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set, split as its authors split it.

    Attributes:
        name: as given to ``load``.
        train, test: the two parts.
        classes: one name a class; label k is ``classes[k]``.
        sources: sha256 of each file read, by file name.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image: ``(C, H, W)`` or ``(d,)``."""
        return tuple(self.train.x.shape[1:])


class Classifier(nn.Module):
    """A model that maps images in [0, 1], ``(B, ...)``, to logits ``(B, K)``; any normalisation happens inside.

    ``stochastic`` says that two calls on the same images may give different logits.
    """

    stochastic: bool = False

    def freeze(self) -> nn.Module:
        """A module with the same logits and no trainable parameters, built to be attacked."""
        return _eval_copy(self)


def _eval_copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).eval().requires_grad_(False)


def frozen(module: nn.Module) -> nn.Module:
    """``module`` ready to be attacked: its own ``freeze()`` for a ``Classifier``, else an eval copy without trainable parameters."""
    return module.freeze() if isinstance(module, Classifier) else _eval_copy(module)


@runtime_checkable
class Attack(Protocol):
    """What training and evaluation need of an attack."""

    @property
    def name(self) -> str:
        """Short name, e.g. ``"pgd"``."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every hyperparameter, as written into a row; JSON values only."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images, shaped as ``x``, within ``eps`` of it in l_inf and within [0, 1]."""


@dataclass(frozen=True)
class Row:
    """One result: a rate ``successes / n`` and everything needed to say what it is and to make it again.

    Attributes:
        dataset: name of the images, e.g. ``"mnist/test"``.
        source: network the attack was crafted on; ``""`` for clean images.
        target: network that is judged.
        attack: name of the attack; ``""`` for clean images.
        parameters: every hyperparameter of the attack.
        eps: l_inf radius in units of the pixel range [0, 1]; None where it differs from image to image.
        metric: ``"accuracy"``, ``"fooling_rate"``, ...
        value: ``successes / n``; NaN where n is 0.
        successes, n: counts.
        low, high: Wilson 95 % interval of the rate.
        majority: accuracy of always naming the commonest class of these images; None where it has no meaning.
        seed: seed of the attack.
        key: key of the task that made the row; ``""`` outside a study.
        version: version of QArmor that made it.
        flags: names of the validity checks that fired.
    """

    dataset: str
    source: str
    target: str
    attack: str
    parameters: Mapping[str, Any]
    eps: float | None
    metric: str
    value: float
    successes: int
    n: int
    low: float
    high: float
    majority: float | None
    seed: int
    key: str = ""
    version: str = CODE_VERSION
    flags: tuple[str, ...] = ()


class Rows(list[Row]):
    """A list of rows."""

    def to_json(self) -> str:
        """JSON text, one object a row."""
        return json.dumps([dataclasses.asdict(row) for row in self], indent=1)

    @classmethod
    def from_json(cls, text: str) -> Rows:
        """The rows that ``to_json`` wrote. Raises ValueError on anything else."""
        try:
            return cls(Row(**{**entry, "flags": tuple(entry["flags"])}) for entry in json.loads(text))
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a list of result rows: {error}") from error

    def to_csv(self) -> str:
        """CSV text with a header, one line a row; parameters as JSON, flags separated by spaces."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [f.name for f in dataclasses.fields(Row)]
        writer.writerow(names)
        for row in self:
            entry = {**dataclasses.asdict(row), "parameters": json.dumps(dict(row.parameters), sort_keys=True), "flags": " ".join(row.flags)}
            writer.writerow(["" if entry[name] is None else entry[name] for name in names])
        return text.getvalue()

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame, one line a row. Needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("Rows.to_frame needs pandas, which is not installed: pip install pandas, or use Rows.to_json") from error
        return pandas.DataFrame([dataclasses.asdict(row) for row in self], columns=[f.name for f in dataclasses.fields(Row)])

    def where(self, **wanted: object) -> Rows:
        """The rows whose fields have these values, e.g. ``rows.where(target="qvc200", metric="accuracy")``."""
        names = {f.name for f in dataclasses.fields(Row)}
        if unknown := set(wanted) - names:
            raise ValueError(f"rows have no field {sorted(unknown)[0]!r}; they have {', '.join(sorted(names))}")
        return Rows(row for row in self if all(getattr(row, k) == v for k, v in wanted.items()))

    def __add__(self, other: Iterable[Row]) -> Rows:  # type: ignore[override]
        return Rows([*self, *other])


def named_object(name: str) -> Any:
    """What ``package.module:attribute`` names; the current folder is searched, too.

    Raises:
        ValueError: not of this form, no such module, or no such attribute.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"{name!r} is not of the form package.module:factory")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{name!r}: cannot import {module_name!r}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ValueError(f"{name!r}: module {module_name!r} has no {attribute!r}") from error
