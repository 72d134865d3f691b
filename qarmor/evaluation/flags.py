"""Validity flags: reasons not to take a number at its face."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from qarmor.attacks.findings import CHECKS, Check
from qarmor.types import Row, Rows

ZERO_GRADIENT_SHARE = 0.01
"""Share of images with an exactly zero input gradient above which ``zero-gradient`` is raised."""

SLACK = 0.01
"""Two accuracies on the same n images disagree if they differ by more than one image and by more than this share of n."""


@dataclass(frozen=True)
class Flag:
    """One validity check: its code, as it stands in rows, a title, and a sentence about what it means for the number."""

    code: str
    title: str
    explanation: str


def _of(check: Check) -> Flag:
    return Flag(check.code, check.title, check.explanation)


_ALL = (
    # Errors of preflight on a few images refuse an attack; these two are also looked for on all images, of which few may have them.
    *(_of(CHECKS[code]) for code in ("zero-gradient", "non-finite-gradient")),
    *(_of(check) for check in CHECKS.values() if check.severity == "warning"),
    Flag(
        "transfer-beats-white-box",
        "A transferred attack is stronger than the white box",
        "The same attack crafted on another network leaves this one fewer right answers (by more than one image and 1 %) than crafted on itself, "
        "so the white-box accuracy overstates its robustness.",
    ),
    Flag(
        "accuracy-rises-with-eps",
        "Accuracy rises with eps",
        "At this eps the network gets more images right (by more than one image and 1 %) than at a smaller one, so the attack missed what its "
        "larger ball contains.",
    ),
    Flag(
        "eps-zero-differs",
        "eps 0 differs from clean",
        "The attack with eps 0 changes nothing, yet the number of right answers differs from that on clean images, so something other than the "
        "perturbation changes the result, such as a random network.",
    ),
    Flag(
        "chance-level",
        "Not above the majority class",
        "The interval of the network's clean accuracy is not above the accuracy of always naming the commonest class, so there is nothing that an "
        "attack could take away.",
    ),
)

FLAGS: Mapping[str, Flag] = MappingProxyType({entry.code: entry for entry in _ALL})
"""Every flag by its code."""


def gradient_flags(norms: Tensor) -> tuple[str, ...]:
    """Flags of a source whose largest gradient components at the clean images are ``norms``, float ``(N,)``, NaN where not finite.

    ``zero-gradient`` if more than 1 % are exactly zero, ``non-finite-gradient`` if any is NaN.
    """
    codes = []
    if float((norms == 0).double().mean()) > ZERO_GRADIENT_SHARE:
        codes.append("zero-gradient")
    if bool(norms.isnan().any()):
        codes.append("non-finite-gradient")
    return tuple(codes)


_Key = tuple[object, ...]


def _identity(row: Row) -> _Key:
    """What was done: the same for the accuracy row and the fooling-rate row of one attack on one target."""
    return (row.dataset, row.source, row.target, row.attack, json.dumps(dict(row.parameters), sort_keys=True), row.eps, row.seed)


def flag(rows: Rows) -> Rows:
    """The rows, with the flags added that compare them; flags they have stay, and flagging twice changes nothing.

    Rows are compared if they have the same data set and n, target, attack, parameters and seed. What is compared are accuracies; a fooling rate takes
    the flags of the accuracy beside it.

    - ``transfer-beats-white-box``, on the row whose source is its target: another source at the same eps leaves fewer right answers.
    - ``accuracy-rises-with-eps``, on the row with the larger eps: more right answers than at some smaller eps, same source.
    - ``eps-zero-differs``, on rows of eps 0: their number of right answers is not exactly that of the clean row, if there is one.
    - ``chance-level``, on the clean row and all others of the target on that data set: the clean interval reaches down to the majority's accuracy.

    The first two need a difference of more than one image and of more than 1 % of the images: the images are the same, so that sampling noise doesn't
    enter, and one or two flips are rounding or an unlucky start. Rows with one eps per image (``eps`` None) are left out of all but the last.
    """
    accuracies = [row for row in rows if row.metric == "accuracy"]
    attacked = [row for row in accuracies if row.source and row.eps is not None]
    found: dict[_Key, set[str]] = defaultdict(set)
    for code, row in [*_beaten(attacked), *_rising(attacked), *_zero_differs(accuracies)]:
        found[(*_identity(row), row.n)].add(code)
        found[_identity(row)].add(code)  # for the fooling rate beside it, whose n is another
    chance = {(row.dataset, row.target) for row in accuracies if not row.source and row.majority is not None and row.low <= row.majority}
    flagged = Rows()
    for row in rows:
        identity = _identity(row)
        codes = found.get((*identity, row.n) if row.metric == "accuracy" else identity, set())
        if (row.dataset, row.target) in chance:
            codes = codes | {"chance-level"}
        flagged.append(replace(row, flags=(*row.flags, *(code for code in FLAGS if code in codes and code not in row.flags))))
    return flagged


def _exceeds(row: Row, other: Row) -> bool:
    return row.successes - other.successes > max(1, SLACK * row.n)


def _beaten(attacked: list[Row]) -> list[tuple[str, Row]]:
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in attacked:
        dataset, _, *rest = _identity(row)
        groups[(dataset, *rest, row.n)].append(row)
    hits = []
    for group in groups.values():
        strongest = min(group, key=lambda row: row.successes)
        hits += [("transfer-beats-white-box", row) for row in group if row.source == row.target and _exceeds(row, strongest)]
    return hits


def _rising(attacked: list[Row]) -> list[tuple[str, Row]]:
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in attacked:
        *rest, _, seed = _identity(row)
        groups[(*rest, seed, row.n)].append(row)
    hits = []
    for group in groups.values():
        ordered = sorted(group, key=lambda row: row.eps or 0.0)
        lowest = ordered[0]
        for row in ordered[1:]:
            if _exceeds(row, lowest):
                hits.append(("accuracy-rises-with-eps", row))
            lowest = min(lowest, row, key=lambda row: row.successes)
    return hits


def _zero_differs(accuracies: list[Row]) -> list[tuple[str, Row]]:
    clean = {(row.dataset, row.target, row.n): row.successes for row in accuracies if not row.source}
    zero = [row for row in accuracies if row.source and row.eps == 0]
    return [("eps-zero-differs", row) for row in zero if clean.get((row.dataset, row.target, row.n), row.successes) != row.successes]
