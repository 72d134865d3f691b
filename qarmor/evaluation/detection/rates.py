"""Rows of a detector: how often it alarms on clean and on attacked images, and what escapes it, computed from observations alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from qarmor.evaluation.detection.detector import calibrate
from qarmor.evaluation.detection.observations import Observations
from qarmor.evaluation.detection.roc import auc
from qarmor.evaluation.statistics import wilson
from qarmor.types import Row, Rows

EPS_EDGES = (0.02, 0.09, 0.16, 0.23, 0.3)
"""Bins of the strengths, equally wide."""


@dataclass(frozen=True)
class _Threshold:
    """A threshold of the score, the rate that it was set for, and on how many held-out images."""

    value: float
    false_positive_rate: float
    held_out: int

    @property
    def parameters(self) -> dict[str, Any]:
        return {"threshold": self.value, "nominal_false_positive_rate": self.false_positive_rate, "held_out": self.held_out}


@dataclass(frozen=True, eq=False)
class _Group:
    """Images that rows are about, and what those rows have in common."""

    seen: Observations
    where: Tensor
    common: Mapping[str, Any]
    threshold: _Threshold | None

    def rate(self, metric: str, hits: Tensor, among: Tensor | None = None) -> Row:
        """The share of ``hits`` among the group's images, or among those of them that are in ``among``."""
        there = self.where if among is None else self.where & among
        successes, n = int((hits & there).sum()), int(there.sum())
        low, high = wilson(successes, n)
        return self._row(metric, successes / n if n else float("nan"), successes, n, low, high)

    def by_score(self, metric: str, above: bool, hits: Tensor | None = None, among: Tensor | None = None) -> Iterator[Row]:
        """As ``rate`` where the score is above the threshold, or not above it; nothing without a threshold."""
        if self.threshold is not None:
            alarm = (self.seen.score > self.threshold.value) == above
            row = self.rate(metric, alarm if hits is None else alarm & hits, among)
            yield Row(**{**vars(row), "parameters": {**row.parameters, **self.threshold.parameters}})

    def area(self, metric: str, clean: Observations, among: Tensor) -> Row:
        """Area under the ROC curve against ``clean``; ``successes`` of ``n`` are pairs, each counted twice so that a tie is one of two."""
        there = self.where & among
        found = auc(clean.score, self.seen.score[there], clean.index, self.seen.index[there])
        return self._row(metric, found.value, found.wins, found.pairs, found.low, found.high)

    def _row(self, metric: str, value: float, successes: int, n: int, low: float, high: float) -> Row:
        return Row(**self.common, metric=metric, value=value, successes=successes, n=n, low=low, high=high, majority=None)


def evaluate_detection(
    clean: Observations,
    attacked: Sequence[Observations],
    held_out: Observations | None = None,
    *,
    false_positive_rate: float = 0.05,
    eps_edges: Sequence[float] = EPS_EDGES,
) -> Rows:
    """Rows of one detector, with ``target`` ``"first+second"`` and the two names in the parameters.

    There are two kinds of alarm: where the networks disagree, and, with ``held_out``, where the score is above a threshold. Metrics of the second
    have ``"score_"`` in front and the threshold in the parameters; it is set on ``held_out`` for ``false_positive_rate`` and sees no other image.

    Of the clean images (source and attack ``""``, eps 0):
        ``"false_positive_rate"``: alarms. ``"undetected_error_rate"``: no alarm, and both name the same wrong class.
    Of the attacked ones, for each source over all its images (attack ``"mixed"`` where there are several), and broken down by attack and by eps (the
    parameter ``"by"`` is ``"all"``, ``"attack"`` or ``"eps"``; ``eps_low`` and ``eps_high`` are those of the images, or of the bin):
        ``"true_positive_rate"``: alarms. ``"true_positive_rate_fooled"``: alarms among images whose attack worked.
        ``"source_fooled_rate"``: images whose attack worked.
        ``"undetected_error_rate"``: no alarm, and both name the same wrong class. ``"evasion_rate"``: the same among images that both networks get
        right when clean: the success of an attacker who knows the detector, if the images are of ``joint_mixture``.
    Over all of a source's images also ``"auc"`` and ``"auc_fooled"``, areas under the ROC curve of the score: there ``successes`` of ``n`` count
    pairs of images, each twice, and the interval is that of ``auc``.

    Args:
        clean, held_out: observations of clean images.
        attacked: observations of attacked images, a source each.
        false_positive_rate: for the threshold.
        eps_edges: edges of the bins, rising; all radii lie between the first and the last.

    Raises:
        TypeError, ValueError: clean images where attacked ones are wanted or the other way round, other networks or data sets, the same source twice,
            held-out images among the others, too few of them (see ``calibrate``), or radii outside the bins.
    """
    _check(clean, attacked, held_out)
    edges = _edges(eps_edges, attacked)
    threshold = None
    if held_out is not None:
        threshold = _Threshold(calibrate(held_out.score, false_positive_rate), float(false_positive_rate), len(held_out))
    rows = Rows(_clean_rows(clean, threshold))
    for seen in attacked:
        for group, by in _groups(seen, threshold, edges):
            rows += _attacked_rows(group)
            if by == "all":
                rows += [group.area("auc", clean, group.where), group.area("auc_fooled", clean, seen.fooled)]
    return rows


def _clean_rows(clean: Observations, threshold: _Threshold | None) -> Iterator[Row]:
    parameters = {"first": clean.networks[0], "second": clean.networks[1], "by": "all"}
    judged = {"dataset": clean.dataset, "target": "+".join(clean.networks), "parameters": parameters}
    common = {**judged, "source": "", "attack": "", "eps": 0.0, "seed": 0}
    group = _Group(clean, torch.ones(len(clean), dtype=torch.bool), common, threshold)
    yield group.rate("false_positive_rate", clean.disagree)
    yield from group.by_score("score_false_positive_rate", True)
    yield group.rate("undetected_error_rate", clean.same_wrong)
    yield from group.by_score("score_undetected_error_rate", False, clean.same_wrong)


def _attacked_rows(group: _Group) -> Iterator[Row]:
    seen = group.seen
    yield group.rate("true_positive_rate", seen.disagree)
    yield group.rate("true_positive_rate_fooled", seen.disagree, seen.fooled)
    yield from group.by_score("score_true_positive_rate", True)
    yield from group.by_score("score_true_positive_rate_fooled", True, among=seen.fooled)
    yield group.rate("source_fooled_rate", seen.fooled)
    for metric, among in (("undetected_error_rate", None), ("evasion_rate", seen.both_right)):
        yield group.rate(metric, seen.same_wrong, among)
        yield from group.by_score(f"score_{metric}", False, seen.same_wrong, among)


def _groups(seen: Observations, threshold: _Threshold | None, edges: Sequence[float]) -> Iterator[tuple[_Group, str]]:
    """All images of a source, those of each attack, and those of each bin of eps."""
    everything = torch.ones(len(seen), dtype=torch.bool)
    yield _group(seen, everything, threshold, "all"), "all"
    for number in range(len(seen.origins)):
        yield _group(seen, seen.origin == number, threshold, "attack"), "attack"
    inner = torch.tensor(edges[1:-1], dtype=torch.float32)
    which = torch.searchsorted(inner, seen.eps, right=True)
    for number, (low, high) in enumerate(pairwise(edges)):
        yield _group(seen, which == number, threshold, "eps", (low, high)), "eps"


def _group(seen: Observations, where: Tensor, threshold: _Threshold | None, by: str, bounds: tuple[float, float] | None = None) -> _Group:
    # a bin without images still tells what was attacked
    origins = [origin for number, origin in enumerate(seen.origins) if (seen.origin[where] == number).any()] or list(seen.origins)
    if bounds is None and where.any():
        bounds = float(seen.eps[where].min()), float(seen.eps[where].max())
    parameters: dict[str, Any] = {"first": seen.networks[0], "second": seen.networks[1], "by": by}
    parameters |= {"attacks": {origin.attack: dict(origin.parameters) for origin in origins}}
    if bounds is not None:
        parameters |= {"eps_low": bounds[0], "eps_high": bounds[1]}
    common = {
        "dataset": seen.dataset,
        "source": seen.origins[0].source,
        "target": "+".join(seen.networks),
        "attack": origins[0].attack if by == "attack" or len(seen.origins) == 1 else "mixed",
        "parameters": parameters,
        "eps": None,
        "seed": origins[0].seed,
        "flags": tuple(dict.fromkeys(flag for origin in origins for flag in origin.flags)),
    }
    return _Group(seen, where, common, threshold)


def _check(clean: Observations, attacked: Sequence[Observations], held_out: Observations | None) -> None:
    for argument, seen, wanted in [("clean", clean, False), *(("attacked", a, True) for a in attacked), ("held_out", held_out, False)]:
        if seen is None:
            continue
        if seen.attacked != wanted:
            raise TypeError(
                f"{argument} must be observations of {'attacked' if wanted else 'clean'} images; use observe for clean, observe_attacked else"
            )
        if (seen.dataset, seen.networks) != (clean.dataset, clean.networks):
            text = f"{' and '.join(seen.networks)} on {seen.dataset!r}, clean is of {' and '.join(clean.networks)} on {clean.dataset!r}"
            raise ValueError(f"{argument} must be of the same networks and data set as clean: it is of {text}")
        if held_out is not None and argument != "held_out" and (shared := torch.isin(held_out.index, seen.index)).any():
            text = f"image {int(held_out.index[shared][0])} ({int(shared.sum())} such images)"
            raise ValueError(f"held_out shares {text} with {argument}: a threshold must not see images that are judged by it; use split")
    sources = [seen.origins[0].source for seen in attacked]
    if len(set(sources)) < len(sources):
        raise ValueError(f"attacked must have one set a source, got {', '.join(sources)}")


def _edges(eps_edges: Sequence[float], attacked: Sequence[Observations]) -> tuple[float, ...]:
    edges = tuple(float(edge) for edge in eps_edges)
    if len(edges) < 2 or any(one >= two for one, two in pairwise(edges)):
        raise ValueError(f"eps_edges must be two or more numbers that rise, got {list(eps_edges)}")
    for seen in attacked:
        low, high = float(seen.eps.min()), float(seen.eps.max())
        if low < edges[0] - 1e-6 or high > edges[-1] + 1e-6:  # radii are float32
            raise ValueError(f"eps_edges must contain all radii: they go from {edges[0]:g} to {edges[-1]:g}, the radii from {low:g} to {high:g}")
    return edges
