"""Claims as data, and their verdicts on what was measured: for each data set and each variant of the networks, with values and intervals."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qarmor.evaluation import mover
from qarmor.evaluation.criteria import Criterion, Published, Quantity, criterion
from qarmor.evaluation.measurements import Measurement, Sample, Table, together
from qarmor.evaluation.repeats import over_seeds

__all__ = ["Claim", "Claims", "Measurement", "Outcome", "Verdict", "evaluate", "read", "verdicts_to_json"]

VerdictWord = Literal["holds", "fails", "undecided", "not measured"]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id, text: its name, which begins with a number, and its sentence.
        criteria: all must hold.
        variants: the names of those that it is judged in.
        datasets: the data sets that it is about; empty for all.
        images: how many attacked images it asks for; 0 for any number.
        paper: what the paper says, ``"holds"`` or ``"fails"``; None where it says nothing.
    """

    id: str
    text: str
    criteria: tuple[Criterion, ...]
    variants: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    images: int = 0
    paper: str | None = None


@dataclass(frozen=True)
class Claims:
    """Claims in order of their numbers, and for each variant which network takes the place of which."""

    claims: tuple[Claim, ...]
    variants: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Outcome:
    """One criterion on one data set.

    Attributes:
        text: the criterion with the variant's networks.
        value, low, high: the sum and its 95 % interval, of several seeds their mean with the interval of ``repeats``; None where there is none.
        n: the sizes of the different sets of images behind it, in order; none for an exact number.
        verdict: ``"holds"``, ``"fails"``, ``"undecided"`` or ``"not measured"``.
        seeds: those of which everything was measured.
    """

    text: str
    value: float | None
    low: float | None
    high: float | None
    n: tuple[int, ...]
    verdict: VerdictWord
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One claim on one data set in one variant.

    Attributes:
        id, text, paper: as in ``Claim``.
        dataset, variant: where.
        verdict: ``"not measured"`` if a criterion is; else ``"fails"`` if one fails, ``"holds"`` if all hold, and ``"undecided"``.
        conditions: one a criterion.
        reason: what is missing; ``""`` if nothing is.
        note: that it rests on fewer images than it should; ``""`` if not.
    """

    id: str
    text: str
    dataset: str
    variant: str
    verdict: VerdictWord
    conditions: tuple[Outcome, ...]
    paper: str | None
    reason: str
    note: str


def verdicts_to_json(verdicts: Iterable[Verdict]) -> str:
    """JSON text, a list with one object a verdict."""
    return json.dumps([dataclasses.asdict(verdict) for verdict in verdicts], indent=1, allow_nan=False)


# ---------------------------------------------------------------------------------------------------------------------------------------- reading


class _Table:
    """A TOML table whose keys are taken one by one; what is not taken is refused."""

    def __init__(self, content: object, path: str) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{path} must be a table, got {content!r}")
        self.content: dict[str, Any] = dict(content)
        self.path = path

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of ``key``, of type ``kind``; ``default`` where it is missing, if there is one."""
        if key not in self.content:
            if default is None:
                raise ValueError(f"{self.at(key)} is missing; give it")
            return default
        value = self.content.pop(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            names = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}
            raise ValueError(f"{self.at(key)} must be {names[kind]}, got {value!r}")
        return value

    def strings(self, key: str, default: list[str] | None = None) -> tuple[str, ...]:
        values = self.take(key, list, default)
        for i, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{self.at(key)}[{i}] must be a string with something in it, got {value!r}")
        if len(set(values)) != len(values):
            raise ValueError(f"{self.at(key)} holds an entry twice; drop one")
        return tuple(values)

    def names(self, key: str) -> dict[str, str]:
        table = _Table(self.take(key, dict), self.at(key))
        return {name: str(table.take(name, str)) for name in list(table.content)}

    def done(self, known: str) -> None:
        if self.content:
            raise ValueError(f"{self.at(next(iter(self.content)))}: unknown key; there are {known}")


def _known(names: Iterable[str], there: Iterable[str], path: str) -> None:
    for name in names:
        if name not in there:
            raise ValueError(f"{path}: {name!r} is not declared; there are {', '.join(there)}")


def _criteria(table: _Table, attack: str) -> tuple[Criterion, ...]:
    """The claim's criteria, each ``{x}`` written out, with ``attack`` in place of ``{attack}``."""
    numbers = table.take("x", list, [])
    for i, x in enumerate(numbers):
        if not isinstance(x, int | float) or isinstance(x, bool):
            raise ValueError(f"{table.at('x')}[{i}] must be a number, got {x!r}")
    parsed = []
    lines = table.strings("criteria")
    if numbers and not any("{x}" in line for line in lines):
        raise ValueError(f"{table.at('x')}: no criterion has {{x}}; drop x")
    for i, line in enumerate(lines):
        path = f"{table.at('criteria')}[{i}]"
        if ("{x}" in line and not numbers) or ("{attack}" in line and not attack):
            raise ValueError(f"{path} has {{x}} or {{attack}}, which the claim doesn't give; add x = [...] or attack = '...'")
        for x in numbers if "{x}" in line else [0]:
            try:
                parsed.append(criterion(line.replace("{attack}", attack).replace("{x}", f"{x:g}")))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
    if not parsed:
        raise ValueError(f"{table.at('criteria')} is empty; a claim needs one or more")
    return tuple(parsed)


def _claim(content: object, path: str, attacks: Mapping[str, str], variants: Iterable[str], attack: str | None = None) -> Claim:
    """The claim that ``content`` states; with ``attack``, under that one instead of its own, and without its number of images."""
    table = _Table(content, path)
    name, text = table.take("id", str), table.take("text", str)
    if not re.match(r"\d", name):
        raise ValueError(f"{table.at('id')} must begin with a number, got {name!r}")
    own = table.take("attack", str, "")
    if own:
        _known([own], attacks, table.at("attack"))
    if attack and not own:
        raise ValueError(f"{table.at('attack')} is missing, but the claim stands again under {attack!r}; give its own attack, and write {{attack}}")
    used = attack or own
    images, paper = table.take("images", int, 0), table.take("paper", str, "")
    if images < 0:
        raise ValueError(f"{table.at('images')} must not be negative, got {images}")
    if paper not in ("", "holds", "fails"):
        raise ValueError(f"{table.at('paper')} must be 'holds' or 'fails', got {paper!r}; leave it out if the paper says nothing")
    chosen = table.strings("variants")
    if not chosen:
        raise ValueError(f"{table.at('variants')} is empty; a claim is judged in one or more")
    _known(chosen, variants, table.at("variants"))
    claim = Claim(
        id=name,
        text=text.replace("{attack}", attacks[used] if used else "{attack}"),
        criteria=_criteria(table, used),
        variants=chosen,
        datasets=table.strings("datasets", []),
        images=0 if attack else images,
        paper=paper or None,
    )
    table.done("id, text, attack, x, criteria, variants, datasets, images, paper")
    return claim


def read(text: str) -> Claims:
    """Claims from TOML; ``qarmor/studies/claims.toml`` says in its head what may stand there.

    Raises:
        ValueError: not TOML, an unknown key, a value of the wrong type, a name that isn't declared, or a criterion that isn't one; the message begins
            with the place.
    """
    try:
        top = _Table(tomllib.loads(text), "")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"claims are not TOML: {error}") from error
    attacks = top.names("attacks") if "attacks" in top.content else {}
    tables = _Table(top.take("variants", dict), "variants")
    variants = {name: tables.names(name) for name in list(tables.content)}
    contents, repeats = top.take("claims", list), top.take("again", list, [])
    top.done("attacks, variants, claims, again")

    claims = [_claim(content, f"claims[{i}]", attacks, variants) for i, content in enumerate(contents)]
    position = {claim.id: i for i, claim in enumerate(claims)}
    for i, content in enumerate(repeats):
        table = _Table(content, f"again[{i}]")
        template, wanted, under = table.take("id", str), table.strings("claims"), table.strings("attacks")
        table.done("id, claims, attacks")
        _known(wanted, position, table.at("claims"))
        _known(under, attacks, table.at("attacks"))
        for attack in under:
            for name in wanted:
                claim = _claim(contents[position[name]], f"claims[{position[name]}]", attacks, variants, attack)
                new = template.replace("{id}", name).replace("{attack}", attack)
                if not re.match(r"\d", new):
                    raise ValueError(f"{table.at('id')} must begin with a number, got {template!r}")
                claims.append(dataclasses.replace(claim, id=new))
    ids = [claim.id for claim in claims]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise ValueError(f"claims: the id {twice[0]!r} occurs twice; give each its own")
    return Claims(tuple(sorted(claims, key=lambda claim: int(re.split(r"\D", claim.id)[0]))), variants)


# ------------------------------------------------------------------------------------------------------------------------------------- evaluating


def _estimate(quantity: Quantity, sample: Sample) -> mover.Estimate:
    if quantity.kind.scale == "exact":
        return mover.exact(float(sample.values[0]))
    return (mover.rate if quantity.kind.scale == "rate" else mover.mean)(sample.values, sample.key)


def _chosen(wanted: Criterion, dataset: str, table: Table) -> tuple[dict[Quantity, Sample], list[str]]:
    """A sample for each quantity, or what is missing."""
    candidates = {quantity: table.samples(dataset, quantity) for quantity in wanted.quantities}
    missing = [f"{quantity}: not measured" for quantity, samples in candidates.items() if not samples]
    missing += [f"{quantity}: no perturbation has any energy" for quantity, samples in candidates.items() if samples and not len(samples[0])]
    if missing:
        return {}, missing
    chosen: dict[Quantity, Sample] = {}
    for attacked in (False, True):
        group = [quantity for quantity in candidates if quantity.kind.attacked == attacked]
        if group:
            chosen.update(zip(group, together([candidates[quantity] for quantity in group]), strict=True))
    return chosen, []


def _total(wanted: Criterion, chosen: Mapping[Quantity, Sample]) -> tuple[mover.Estimate, tuple[int, ...]]:
    """The sum of a criterion whose quantities are all there, and the sizes of the sets of images behind it."""
    parts, sizes = [], {}
    for term in wanted.terms:
        for quantity in term.quantities:
            if quantity.kind.scale != "exact":
                sizes[chosen[quantity].key] = len(chosen[quantity])
        if isinstance(term.over, Published):
            estimate = mover.published(term.over.successes, term.over.n)
            sizes[str(term.over).encode()] = term.over.n
        else:
            estimate = _estimate(term.over, chosen[term.over])
        if term.under:
            estimate = mover.ratio(estimate, _estimate(term.under, chosen[term.under]))
        parts.append((term.coefficient, estimate))
    return mover.total(parts), tuple(sizes.values())


def _outcome(wanted: Criterion, samples: Mapping[int, Mapping[Quantity, Sample]]) -> Outcome:
    """The verdict on a criterion, over all seeds of which its quantities are there."""
    totals = {seed: _total(wanted, chosen) for seed, chosen in samples.items()}
    estimates = [estimate for estimate, _ in totals.values()]
    got = over_seeds(*([getattr(one, field) for one in estimates] for field in ("value", "low", "high")))
    value, low, high = (number if math.isfinite(number) else None for number in got)
    sizes = next(iter(totals.values()))[1]
    return Outcome(str(wanted), value, low, high, sizes, wanted.judge(got[1], got[2]), tuple(totals))


def _note(samples: Sequence[Mapping[Quantity, Sample]], images: int, test_images: int) -> str:
    """Whether fewer images stand behind a claim than it asks for."""
    attacked, clean = (
        [len(s) for chosen in samples for q, s in chosen.items() if q.kind.attacked == flag and q.kind.scale != "exact"] for flag in (True, False)
    )
    notes = []
    if attacked and min(attacked) < min(images, test_images):
        notes.append(f"rests on {min(attacked)} attacked images where the claim asks for {min(images, test_images)}")
    if clean and min(clean) < test_images:
        notes.append(f"rests on clean accuracy on {min(clean)} of {test_images} test images")
    return "; ".join(notes)


def _verdict(claim: Claim, dataset: str, variant: str, names: Mapping[str, str], tables: Mapping[int, Table], test_images: int) -> Verdict:
    def rename(network: str) -> str:
        base, suffix, strength = network.partition("-adv")
        return names.get(base, base) + suffix + strength

    outcomes: list[Outcome] = []
    samples: list[Mapping[Quantity, Sample]] = []
    missing: list[str] = []
    for wanted in (one.renamed(rename) for one in claim.criteria):
        found = {seed: _chosen(wanted, dataset, table) for seed, table in tables.items()}
        whole = {seed: chosen for seed, (chosen, lacking) in found.items() if not lacking}
        outcomes.append(_outcome(wanted, whole) if whole else Outcome(str(wanted), None, None, None, (), "not measured"))
        samples += whole.values()
        missing += [] if whole else found[min(found)][1]
    missing = list(dict.fromkeys(missing))
    words = {outcome.verdict for outcome in outcomes}
    order: tuple[VerdictWord, ...] = ("not measured", "fails", "undecided", "holds")
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return Verdict(
        id=claim.id,
        text=claim.text,
        dataset=dataset,
        variant=variant,
        verdict=next(word for word in order if word in words),
        conditions=tuple(outcomes),
        paper=claim.paper,
        reason=f"needs {missing[0]}{more}" if missing else "",
        note=_note(samples, claim.images, test_images),
    )


def evaluate(claims: Claims, measurements: Iterable[Measurement], datasets: Mapping[str, int]) -> tuple[Verdict, ...]:
    """Judge each claim on each data set that it is about, in each of its variants.

    Where several measurements fit, clean quantities take the one with the most images. The attacked quantities of a criterion take the largest set of
    images that all of them have, if there is one, and are then compared image by image; different sets of images count as independent.
    Networks of several seeds are compared seed by seed, and a criterion is judged on the mean over the seeds of which everything was measured.
    Intervals: see ``mover``. They are for one criterion each, not corrected for the number of claims.

    Args:
        claims: as ``read`` returns them.
        measurements: of any data set, quantity and network; what no claim asks for is ignored.
        datasets: the study's data sets, each with its number of test images.

    Returns:
        Verdicts by claim, then data set, then variant.

    Raises:
        TypeError: ``measurements`` or ``datasets`` of another kind.
    """
    if not isinstance(datasets, Mapping):
        raise TypeError(f"datasets must map names to numbers of test images, got {type(datasets).__name__}; pass {{'mnist': 10000}}")
    tables = _by_seed(measurements)
    return tuple(
        _verdict(claim, dataset, variant, claims.variants[variant], tables, test_images)
        for claim in claims.claims
        for dataset, test_images in datasets.items()
        if not claim.datasets or dataset in claim.datasets
        for variant in claim.variants
    )


def _by_seed(measurements: Iterable[Measurement]) -> dict[int, Table]:
    """A table a seed; an empty one where there are no measurements."""
    found: dict[int, list[Measurement]] = {}
    for measurement in measurements:
        if not isinstance(measurement, Measurement):
            raise TypeError(f"measurements must be qarmor.evaluation.Measurement, got {type(measurement).__name__}")
        found.setdefault(measurement.seed, []).append(measurement)
    return {seed: Table(found[seed]) for seed in sorted(found)} or {0: Table(())}
