"""AutoAttack (Croce & Hein 2020): a suite of attacks, each on the images that all before it have left, for any number of classes from two on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from qarmor.attacks import checks
from qarmor.attacks.apgd import APGD, APGDTargeted
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle
from qarmor.attacks.fab import FAB, FABTargeted
from qarmor.attacks.losses import LOSSES
from qarmor.attacks.square import Square
from qarmor.attacks.streams import Streams

Suite = Mapping[str, BaseAttack]

# The suite and budgets of the paper; pyautoattack's version="standard".
_STANDARD: Suite = {"apgd-ce": APGD(loss="ce"), "apgd-t": APGDTargeted(), "fab-t": FABTargeted(), "square": Square()}
# DLR needs three classes and its targeted form four: DESIGN 3.5.
_TERNARY: Suite = {"apgd-ce": APGD(loss="ce"), "apgd-dlr": APGD(loss="dlr"), "fab-t": FABTargeted(), "square": Square()}
_BINARY: Suite = {"apgd-ce": APGD(loss="ce"), "apgd-margin": APGD(loss="margin"), "fab": FAB(), "square": Square()}
_LIGHT: Suite = {"apgd-ce": APGD(loss="ce", steps=5)}

SUITES: Mapping[str, Suite] = MappingProxyType({"standard": _STANDARD, "ternary": _TERNARY, "binary": _BINARY, "light": _LIGHT})
VERSIONS = ("auto", *SUITES)


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class AutoAttack(BaseAttack):
    """The worst of several attacks, one after the other on the images that are still named rightly.

    ``"standard"``, at least 4 classes: APGD-CE, APGD-T, FAB-T and Square with the published budgets (100 steps, 9 targets or K - 1 if that is less,
    5000 queries). ``"ternary"``, at least 3: APGD-CE, APGD-DLR, FAB-T, Square. ``"binary"``, any number: APGD-CE, APGD on the margin, FAB, Square; no
    published suite works for two classes, and a result with this one is called ``autoattack-binary``. ``"auto"`` takes the first of these that the
    model's number of classes allows. ``"light"``: 5 steps of APGD-CE, for adversarial training, not for a claim of robustness.

    Two parts are a little stronger than in the authors' code, so that fewer images may be left: FAB cuts what it found just outside the ball to it
    and judges that, and Square moves the last row and column, too, as its paper says.

    Images that the model is wrong about when clean take part in the first attack: the published suite returns them, and those that resist, as they
    were; here every image comes back as the best one seen, since attacks are transferred.

    Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", section 5.

    Attributes:
        version: one of ``VERSIONS``.
        steps: of each gradient attack; None for the suite's.
        queries: of Square; None for the suite's.
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range; when called, a version that needs more classes than the model has.
    """

    version: str = "auto"
    steps: int | None = None
    queries: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_choice("version", self.version, VERSIONS)
        for what, value in (("steps", self.steps), ("queries", self.queries)):
            if value is not None:
                checks.check_count(what, value)

    @property
    def name(self) -> str:  # type: ignore[override]
        """What a result is called: the official name for the official suite only, and for ``"auto"`` until ``for_classes`` has resolved it."""
        return "autoattack" if self.version in ("auto", "standard") else f"autoattack-{self.version}"

    def for_classes(self, classes: int) -> AutoAttack:
        """The same attack with ``"auto"`` resolved for a model of ``classes`` classes."""
        if self.version != "auto":
            return self
        return dataclasses.replace(self, version="standard" if classes >= 4 else "ternary" if classes == 3 else "binary")

    @property
    def parameters(self) -> dict[str, Any]:
        """The version, and every hyperparameter of every attack of its suite (of ``"auto"``: none yet, they depend on the classes)."""
        suite = {} if self.version == "auto" else {name: attack.parameters for name, attack in self.suite().items()}
        return {**self.options, "suite": suite}

    def suite(self) -> Suite:
        """The attacks by name, in order. Raises ValueError for ``"auto"``, which has none before ``for_classes``."""
        if self.version == "auto":
            raise ValueError('version "auto" has a suite only for a number of classes: use for_classes')
        return {name: self._budgeted(attack) for name, attack in SUITES[self.version].items()}

    def _budgeted(self, attack: BaseAttack) -> BaseAttack:
        if isinstance(attack, Square):
            return attack if self.queries is None else dataclasses.replace(attack, queries=self.queries)
        return attack if self.steps is None else dataclasses.replace(attack, steps=self.steps)  # type: ignore[call-arg]

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        loss = LOSSES["margin"]  # what the suite's attacks have in common to rank images by
        best = Best(x)
        best.update(x, *oracle.judge(x, loss))
        resolved = self.for_classes(oracle.classes)
        resolved._check_classes(oracle.classes)
        suite = resolved.suite()
        for number, (name, attack) in enumerate(suite.items()):
            if (kept := oracle.journal.read(name)) is not None:
                best.x, best.loss, best.wrong = (kept[part].to(x.device) for part in ("x", "loss", "wrong"))
                continue
            # images that were wrong when clean take part in the first, since attacks are transferred
            which = (~best.wrong).nonzero().flatten() if number else torch.arange(len(x), device=x.device)
            oracle.journal.tell(name, int((~best.wrong).sum()), number / len(suite))
            if len(which):
                part, within = oracle.subset(which), ball.subset(which)
                found = within.project(attack._perturb(part, x[which], within, streams.subset(which).branch(name)).detach())
                best.put(which, found, *part.judge(found, loss))
            oracle.journal.keep(name, {"x": best.x, "loss": best.loss, "wrong": best.wrong})
        return best.x

    def _check_classes(self, classes: int) -> None:
        needed = {"standard": 4, "ternary": 3}.get(self.version, 2)
        if classes < needed:
            raise ValueError(f'AutoAttack version "{self.version}" needs at least {needed} classes, the model has {classes}: use version="auto"')
