"""The language that criteria are written in: sums of measured numbers, compared with a bound.

    accuracy(convnet -> resnet18, pgd, 0.2) / clean(resnet18) < 0.5
    accuracy(convnet -> qvc200, pgd, 0.2) - accuracy(convnet -> resnet18, pgd, 0.2) > 0.2
    gates_real(qvc200) in [1000, 10000]
    false_positives(convnet -> qvc500) - published(227 of 1000) covers 0

A sum has one or more terms; a term is a quantity, or one quantity divided by another, with a number and ``*`` in front if need be. ``QUANTITIES``
lists what can be measured, and ``published(k of n)`` is a rate from the literature.

A criterion is judged by the 95 % interval of the sum, not by its value. ``<``, ``>`` and ``in``: it holds where the whole interval meets it, fails
where no part does, and is undecided otherwise. ``covers``: it holds where the interval contains the number ("no more than chance"), else fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Judgement = Literal["holds", "fails", "undecided"]
Relation = Literal["<", ">", "in", "covers"]


@dataclass(frozen=True)
class Kind:
    """What a quantity is.

    Attributes:
        fields: what it is asked by, of ``source, target, attack, eps``, in the order in which they are written.
        scale: ``"rate"`` of 0/1 values, ``"mean"`` of values in [0, 1], or one ``"exact"`` number.
        measured: the measurements' name of it.
        attacked: whether it wants the same images as the other attacked ones of a criterion; else all the images there are.
    """

    fields: tuple[str, ...]
    scale: Literal["rate", "mean", "exact"]
    measured: str
    attacked: bool = True


QUANTITIES: Mapping[str, Kind] = MappingProxyType(
    {
        # Accuracy of target under the attack crafted on source.
        "accuracy": Kind(("source", "target", "attack", "eps"), "rate", "accuracy"),
        # Accuracy of target on clean images: on all that were measured, and on just those that the rest of the criterion is about.
        "clean": Kind(("target",), "rate", "clean", attacked=False),
        "clean_paired": Kind(("target",), "rate", "clean"),
        # Mean share of the energy of source's perturbations at low spatial frequency.
        "low_frequency_share": Kind(("source", "attack", "eps"), "mean", "low_frequency_share"),
        # Accuracy of target on clean images with noise after every layer: attack is the kind of noise, eps its strength; exact expectations.
        "noisy_accuracy": Kind(("target", "attack", "eps"), "rate", "noisy_accuracy"),
        # Share of clean images, and of those attacked on source (attack "mixed": attacks and strengths mixed), on which source and target disagree.
        "false_positives": Kind(("source", "target"), "rate", "false_positives"),
        "true_positives": Kind(("source", "target", "attack"), "rate", "true_positives"),
        # Gates of target, encoding of the image included, with state preparation for real and for complex amplitudes.
        "gates_real": Kind(("target",), "exact", "gates_real", attacked=False),
        "gates_complex": Kind(("target",), "exact", "gates_complex", attacked=False),
    }
)
"""Every quantity by its name in a criterion."""


@dataclass(frozen=True)
class Quantity:
    """One measured number; fields that its kind is not asked by are empty, eps 0."""

    name: str
    source: str = ""
    target: str = ""
    attack: str = ""
    eps: float = 0.0

    @property
    def kind(self) -> Kind:
        """What it is."""
        return QUANTITIES[self.name]

    def __str__(self) -> str:
        fields = self.kind.fields
        names = " -> ".join(name for name in (self.source, self.target) if name)
        rest = [self.attack] * ("attack" in fields) + [f"{self.eps:g}"] * ("eps" in fields)
        return f"{self.name}({', '.join([names, *rest])})"


@dataclass(frozen=True)
class Published:
    """A rate from the literature."""

    successes: int
    n: int

    def __str__(self) -> str:
        return f"published({self.successes} of {self.n})"


@dataclass(frozen=True)
class Term:
    """``coefficient * over``, or ``coefficient * over / under``."""

    coefficient: float
    over: Quantity | Published
    under: Quantity | None = None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The one or two that must be measured, or none."""
        return tuple(q for q in (self.over, self.under) if isinstance(q, Quantity))


@dataclass(frozen=True)
class Criterion:
    """A sum of terms, and the bounds that it is compared with: (-inf, high), (low, inf) or [low, high]; ``covers``: low and high are the number."""

    terms: tuple[Term, ...]
    relation: Relation
    low: float
    high: float

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """All that must be measured, each once, in order."""
        return tuple(dict.fromkeys(quantity for term in self.terms for quantity in term.quantities))

    def renamed(self, rename: Callable[[str], str]) -> Criterion:
        """The same of other networks: every source and target ``name`` becomes ``rename(name)``."""

        def other(quantity: Quantity) -> Quantity:
            return replace(quantity, source=rename(quantity.source), target=rename(quantity.target))

        return replace(
            self,
            terms=tuple(
                replace(
                    term, over=other(term.over) if isinstance(term.over, Quantity) else term.over, under=other(term.under) if term.under else None
                )
                for term in self.terms
            ),
        )

    def judge(self, low: float, high: float) -> Judgement:
        """Verdict on a sum with the interval ``[low, high]``."""
        if self.relation == "covers":
            return "holds" if low <= self.low <= high else "fails"
        if self.relation == "<":
            holds, fails = high < self.high, low >= self.high
        elif self.relation == ">":
            holds, fails = low > self.low, high <= self.low
        else:
            holds, fails = self.low <= low and high <= self.high, high < self.low or low > self.high
        return "holds" if holds else "fails" if fails else "undecided"

    def __str__(self) -> str:
        text = ""
        for i, term in enumerate(self.terms):
            sign = ("" if i == 0 else " + ") if term.coefficient > 0 else ("-" if i == 0 else " - ")
            size = "" if abs(term.coefficient) == 1 else f"{abs(term.coefficient):g} * "
            text += f"{sign}{size}{term.over}" + (f" / {term.under}" if term.under else "")
        bound = f"[{self.low:g}, {self.high:g}]" if self.relation == "in" else f"{self.high if self.relation == '<' else self.low:g}"
        return f"{text} {self.relation} {bound}"


_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_SIGN = re.compile(r"\s*([-+])\s*")
_COEFFICIENT = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*\*\s*")
_CALL = re.compile(r"\s*(\w+)\s*\(([^()]*)\)\s*")
_OVER = re.compile(r"/")
_BOUND = re.compile(rf"(?:(<|>|covers)\s*({_NUMBER})|(in)\s*\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\])\s*")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def _factor(name: str, arguments: str) -> Quantity | Published:
    if name == "published":
        counts = re.fullmatch(r"\s*(\d+) of (\d+)\s*", arguments)
        if not counts or not 0 <= int(counts[1]) <= int(counts[2]) or int(counts[2]) == 0:
            raise ValueError(f"published takes counts as 'k of n', k at most n, got {arguments!r}")
        return Published(int(counts[1]), int(counts[2]))
    if name not in QUANTITIES:
        raise ValueError(f"unknown quantity {name!r}; there are {', '.join([*QUANTITIES, 'published'])}")
    fields = QUANTITIES[name].fields
    first = "source -> target" if {"source", "target"} <= set(fields) else "network"
    form = ", ".join([first, *(f for f in fields if f in ("attack", "eps"))])
    given = [part.strip() for part in arguments.split(",")]
    given[:1] = [part.strip() for part in given[0].split("->")]
    expected = first.count("->") + 1
    if len(given) != len(fields) or arguments.split(",")[0].count("->") != expected - 1:
        raise ValueError(f"{name} is asked as {name}({form}), got ({arguments.strip()})")
    values = dict(zip(fields, given, strict=True))
    for key, value in values.items():
        if not re.fullmatch(_NUMBER if key == "eps" else _NAME, value):
            raise ValueError(f"{name}: {key} must be a {'number' if key == 'eps' else 'name'}, got {value!r}")
    eps = float(values.pop("eps", "0"))
    if not 0 <= eps <= 1:
        raise ValueError(f"{name}: eps must be between 0 and 1, got {eps:g}")
    return Quantity(name, eps=eps, **values)


def criterion(text: str) -> Criterion:
    """What ``text`` says.

    Raises:
        ValueError: not of the language (see the module); the message quotes the place.
    """
    at = 0
    terms: list[Term] = []

    def take(pattern: re.Pattern[str]) -> re.Match[str] | None:
        nonlocal at
        match = pattern.match(text, at)
        at = match.end() if match else at
        return match

    def factor() -> Quantity | Published:
        call = take(_CALL)
        if call is None:
            raise ValueError(f"expected a quantity such as clean(convnet) at {text[at:]!r}")
        return _factor(call[1], call[2])

    while True:
        sign = take(_SIGN)
        if terms and not sign:
            break
        coefficient = float(number[1]) if (number := take(_COEFFICIENT)) else 1.0
        if coefficient == 0:
            raise ValueError("a coefficient must not be 0; leave the term out")
        over = factor()
        under = factor() if take(_OVER) else None
        if isinstance(under, Published) or (under and isinstance(over, Published)):
            raise ValueError("a published rate can't stand in a ratio; compare by a difference")
        terms.append(Term(-coefficient if sign and sign[1] == "-" else coefficient, over, under))
    bound = take(_BOUND)
    if bound is None or at != len(text):
        raise ValueError(f"expected '< number', '> number', 'in [low, high]' or 'covers number' to the end at {text[at:]!r}")
    if bound[3]:
        low, high = float(bound[4]), float(bound[5])
        if not low < high:
            raise ValueError(f"'in' takes a lower and a higher number, got [{low:g}, {high:g}]")
        return Criterion(tuple(terms), "in", low, high)
    number_after = float(bound[2])
    if bound[1] == "<":
        return Criterion(tuple(terms), "<", -math.inf, number_after)
    if bound[1] == ">":
        return Criterion(tuple(terms), ">", number_after, math.inf)
    return Criterion(tuple(terms), "covers", number_after, number_after)
