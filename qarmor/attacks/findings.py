"""What can be wrong with a network, and how it is said: codes, titles, explanations and remedies. ``docs/checks.md`` has a paragraph on each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Severity = Literal["error", "warning"]

DOCS = "docs/checks.md"


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        code: as it stands in messages, in rows and in ``docs/checks.md``.
        title: a few words.
        severity: ``"error"`` where a number could not be trusted, ``"warning"`` where it needs a remark.
        explanation: a sentence: what is the case, and what it means for numbers.
        remedy: what to do, without a full stop.
        gradients: whether it matters only to an attack that follows gradients.
    """

    code: str
    title: str
    severity: Severity
    explanation: str
    remedy: str
    gradients: bool = False


@dataclass(frozen=True)
class Finding:
    """A check that fired, and what it saw."""

    check: Check
    detail: str

    def __str__(self) -> str:
        return f"{self.check.code}: {self.detail}; {self.check.remedy} ({DOCS}#{self.check.code})"


class CheckError(ValueError):
    """A check of severity ``"error"`` fired.

    Attributes:
        findings: those that did, at least one.
    """

    def __init__(self, message: str, findings: Iterable[Finding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)

    @classmethod
    def of(cls, blame: str, findings: Iterable[Finding]) -> CheckError:
        """The error that names all ``findings``; ``blame`` says what fails, e.g. ``"network 'a'"``."""
        findings = tuple(findings)
        return cls(f"{blame} fails {'; '.join(map(str, findings))}", findings)


def refuse_errors(blame: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, all of them warnings. Raises CheckError if there are errors among them."""
    findings = tuple(findings)
    if errors := [finding for finding in findings if finding.check.severity == "error"]:
        raise CheckError.of(blame, errors)
    return findings


def table(checks: Iterable[Check]) -> Mapping[str, Check]:
    """Checks by code."""
    return MappingProxyType({check.code: check for check in checks})


CHECKS: Mapping[str, Check] = table(
    (
        Check(
            "non-finite-logits",
            "NaN or infinite logits",
            "error",
            "The network's logits are not finite on some images, so neither a prediction nor a loss has a meaning there.",
            "look at its weights, its normalisation and its logarithms",
        ),
        Check(
            "random-output",
            "Undeclared random output",
            "error",
            "The network in eval mode gives other logits for the same images when it is asked again, so an attack keeps lucky draws and a defence by "
            "noise looks like robustness.",
            "switch the noise off in eval mode, or derive the network from qarmor.types.Classifier with stochastic = True and attack it with eot",
        ),
        Check(
            "batch-dependent",
            "Logits depend on the other images of the batch",
            "error",
            "The network gives an image other logits in another batch, as batch normalisation in training mode does, so a perturbation that fools it "
            "among some images says nothing about others.",
            "let eval() reach its layers, and take no statistics over the batch",
        ),
        Check(
            "detached-gradient",
            "Logits without a graph to the images",
            "error",
            "The logits do not depend on the images as far as autograd can see, so a gradient attack has nothing to follow.",
            "remove detach, no_grad and trips through numpy, ask your library for input gradients, or attack with square",
            gradients=True,
        ),
        Check(
            "non-finite-gradient",
            "NaN or infinite input gradients",
            "error",
            "The source's gradient for the images is not finite on at least one of them, so a gradient attack on it may have failed.",
            "guard square roots, logarithms and divisions where they meet zero",
            gradients=True,
        ),
        Check(
            "zero-gradient",
            "Zero input gradients",
            "error",
            "The source's gradient for the images is exactly zero on some of them, so a gradient attack has nothing to follow there and the accuracy "
            "under it says little about robustness.",
            "replace rounding, thresholds and counting by something smooth for the attack, or attack with square",
            gradients=True,
        ),
        Check(
            "gradient-mismatch",
            "Gradients that disagree with finite differences",
            "error",
            "The source's gradient for the images is not the slope of its logits as finite differences measure it, so it leads a gradient attack "
            "astray.",
            "look for detached branches, rounded inputs, backward passes of your own and half precision, or attack with square",
            gradients=True,
        ),
        Check(
            "saturated",
            "Cross-entropy saturates",
            "warning",
            "The source's logits are so far apart that the gradient of cross-entropy underflows to zero on some images where that of the margin does "
            "not, so an attack on cross-entropy is blind there and overstates robustness.",
            'attack with loss="margin" or "dlr"',
            gradients=True,
        ),
        Check(
            "stochastic",
            "Random by declaration",
            "warning",
            "The source declares that its output is random and the attack does not average over its draws, so it may be weaker than one that does.",
            "wrap the attack in eot",
        ),
    )
)
"""The checks of ``preflight``, by code."""
