"""The verdicts on the claims, arranged: a matrix of claims and data sets with the variants side by side, and a paragraph that sums them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qarmor.report.inputs import VERDICTS, Verdict
from qarmor.report.summary import is_control
from qarmor.report.tables import DASH, listed

SYMBOLS = {"holds": "✓", "fails": "✗", "undecided": "?", "not measured": DASH}


@dataclass(frozen=True)
class Cell:
    """One claim on one data set: what became of each of its variants; ``idle`` where none was measured."""

    dataset: str
    verdicts: tuple[Verdict, ...]

    @property
    def idle(self) -> bool:
        """Whether nothing was measured."""
        return all(verdict.verdict == "not measured" for verdict in self.verdicts)


@dataclass(frozen=True)
class Claim:
    """One claim: a cell a data set of the matrix."""

    id: str
    text: str
    paper: str
    cells: tuple[Cell, ...]

    @property
    def idle(self) -> bool:
        """Whether nothing was measured on any data set."""
        return all(cell.idle for cell in self.cells)

    @property
    def reasons(self) -> str:
        """Why nothing was measured: the first reason, and how many others there are for other variants and data sets."""
        found = list(dict.fromkeys(verdict.reason for cell in self.cells for verdict in cell.verdicts if verdict.reason))
        return f"{found[0]}{f'; {len(found) - 1} more alike for other variants' if len(found) > 1 else ''}" if found else ""

    @property
    def verdicts(self) -> list[Verdict]:
        """All of them, by data set and variant."""
        return [verdict for cell in self.cells for verdict in cell.verdicts]


@dataclass(frozen=True)
class Matrix:
    """Every claim on every data set of which at least one claim was measured; the others are ``unmeasured``."""

    datasets: tuple[str, ...]
    unmeasured: tuple[str, ...]
    variants: tuple[str, ...]
    claims: tuple[Claim, ...]


def matrix(verdicts: Sequence[Verdict]) -> Matrix:
    """The verdicts by claim, data set and variant, each in the order in which it first comes."""
    measured = {verdict.dataset for verdict in verdicts if verdict.verdict != "not measured"}
    every = tuple(dict.fromkeys(verdict.dataset for verdict in verdicts))
    datasets = tuple(name for name in every if name in measured)
    variants = tuple(dict.fromkeys(verdict.variant for verdict in verdicts))
    by_id: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_id.setdefault(verdict.id, []).append(verdict)
    claims = tuple(_claim(found, datasets, variants) for found in by_id.values())
    return Matrix(datasets, tuple(name for name in every if name not in measured), variants, claims)


def _claim(verdicts: Sequence[Verdict], datasets: Sequence[str], variants: Sequence[str]) -> Claim:
    def cell(dataset: str) -> Cell:
        found = [verdict for verdict in verdicts if verdict.dataset == dataset]
        return Cell(dataset, tuple(sorted(found, key=lambda verdict: variants.index(verdict.variant))))

    return Claim(verdicts[0].id, verdicts[0].text, _paper(verdicts), tuple(cell(dataset) for dataset in datasets))


def _paper(verdicts: Sequence[Verdict]) -> str:
    """What the paper says of the claim: one word, or one a data set where they differ."""
    said = {verdict.dataset: verdict.paper for verdict in verdicts if verdict.paper}
    if len(set(said.values())) < 2:
        return next(iter(said.values()), "")
    return ", ".join(f"{word} on {dataset}" for dataset, word in said.items())


def summary(found: Matrix) -> list[str]:
    """Sentences computed from the verdicts: counts, then whether what holds for the networks also holds for the controls in their place."""
    if not found.datasets:
        return [f"None of the {len(found.claims)} claims was measured yet."]
    recipes = [variant for variant in found.variants if not is_control(variant)]
    controls = [variant for variant in found.variants if is_control(variant)]
    texts = [_first(found, (recipes or controls)[0])]
    if not recipes:
        return texts
    texts += [_differ(found, recipes[0], other) for other in recipes[1:]]
    if not controls:
        return [*texts, "No classical control was put in the quantum network's place, so nothing here can be called a quantum advantage."]
    texts += [_as_well(found, recipes[0], control) for control in controls]
    texts += [_alone(found, recipes[0], controls), *_untried(found, recipes[0], controls)]
    return [*texts, f"What {' or '.join(controls)} shows as well is no quantum advantage."]


def counts(found: Matrix) -> list[tuple[str, list[int]]]:
    """For each variant, how many verdicts are each of ``VERDICTS``."""
    words = {variant: [said[variant] for _, _, said in _pairs(found) if variant in said] for variant in found.variants}
    return [(variant, [said.count(word) for word in VERDICTS]) for variant, said in words.items()]


def _pairs(found: Matrix) -> list[tuple[Claim, Cell, dict[str, str]]]:
    """Each claim on each data set, with the word of each variant."""
    return [(claim, cell, {v.variant: v.verdict for v in cell.verdicts}) for claim in found.claims for cell in claim.cells]


def _first(found: Matrix, variant: str) -> str:
    holds, fails, undecided, unmeasured = dict(counts(found))[variant]
    told = f"{_some(holds, 'holds')}, {_some(fails, 'fails')}, {_some(undecided, 'is undecided')}; {unmeasured} not measured"
    where = listed(found.datasets)
    return (
        f"{len(found.claims)} claims on {where}, each on each counted once. Variant {variant}: of {holds + fails + undecided + unmeasured}, {told}."
    )


def _some(count: int, words: str) -> str:
    """``"1 holds"``, ``"3 hold"``, ``"none holds"``."""
    verb, blank, rest = words.partition(" ")
    many = {"holds": "hold", "fails": "fail", "is": "are"}[verb]
    return f"{count or 'none'} {verb if count < 2 else many}{blank}{rest}"


def _places(pairs: Sequence[tuple[Claim, Cell, dict[str, str]]]) -> str:
    """``"1 (mnist, cifar2) and 4 (mnist)"``."""
    names: dict[str, list[str]] = {}
    for claim, cell, _ in pairs:
        names.setdefault(claim.id, []).append(cell.dataset)
    return listed([f"{name} ({', '.join(datasets)})" for name, datasets in names.items()])


def _differ(found: Matrix, recipe: str, other: str) -> str:
    pairs = [pair for pair in _pairs(found) if {pair[2].get(recipe), pair[2].get(other)} == {"holds", "fails"}]
    if not pairs:
        return f"No verdict turns from holds to fails, or back, between {recipe} and {other}."
    return f"Between {recipe} and {other} the verdict turns, from holds to fails or back, for {_places(pairs)}."


def _tried(said: dict[str, str], variant: str) -> bool:
    return said.get(variant, "not measured") != "not measured"


def _as_well(found: Matrix, recipe: str, control: str) -> str:
    pairs = [pair for pair in _pairs(found) if pair[2].get(recipe) == "holds" and _tried(pair[2], control)]
    if not pairs:
        return f"Nothing that holds in variant {recipe} was measured with {control} in the quantum network's place."
    level = [pair for pair in pairs if pair[2][control] == "holds"]
    where = f": {_places(level)}" if level else ""
    tried = f"With {control} in the quantum network's place, of the {len(pairs)} that hold in variant {recipe} and were tried so"
    return f"{tried}, {_some(len(level), 'holds')} as well{where}."


def _alone(found: Matrix, recipe: str, controls: Sequence[str]) -> str:
    both = "every control" if len(controls) > 1 else controls[0]
    alone = [pair for pair in _pairs(found) if pair[2].get(recipe) == "holds" and all(pair[2].get(control) == "fails" for control in controls)]
    if not alone:
        return f"Nothing holds in variant {recipe} and fails with {both}."
    return f"What holds in variant {recipe} and fails with {both}: {_places(alone)}; a reason to look further, not a proof."


def _untried(found: Matrix, recipe: str, controls: Sequence[str]) -> list[str]:
    """A sentence on what holds and was tried with no control, if there is any."""
    pairs = [pair for pair in _pairs(found) if pair[2].get(recipe) == "holds" and not any(_tried(pair[2], control) for control in controls)]
    return [f"What holds in variant {recipe} and was tried with no control, {len(pairs)} in all: {_places(pairs)}."] if pairs else []
