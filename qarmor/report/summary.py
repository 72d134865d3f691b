"""The paragraph on top of a page without claims: what the rows say, in plain words, with the caution that they deserve."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qarmor.report.inputs import Results
from qarmor.report.tables import AttackName, Book, listed, number
from qarmor.types import Row

CONTROLS = ("linear", "quadratic")
"""A network whose name begins with one of these words is a classical control: a model far simpler than a neural network."""


def is_control(name: str) -> bool:
    """Whether ``name`` is a classical control, e.g. ``"linear"`` or ``"quadratic^.1"``."""
    return re.match(rf"({'|'.join(CONTROLS)})(?![a-z])", name.lower()) is not None


def summary(book: Book, results: Results) -> list[str]:
    """Sentences about one data set, each from numbers of the rows."""
    parts = [_what(book, results), _clean(book)]
    attack, eps = book.reference_attack, book.reference_eps
    if attack is None or eps is None:
        return [*parts, "The rows hold no attack with an eps above 0, so nothing can be said about robustness."]
    return [*parts, *_white_box(book, attack, eps), *_transfers(book, attack, eps)]


def caution(book: Book, results: Results) -> list[str]:
    """What may not be concluded: which classical controls resist as well as each quantum network."""
    attack, eps = book.reference_attack, book.reference_eps
    quantum = [name for name in book.targets if results.quantum(name)]
    controls = [name for name in book.targets if is_control(name)]
    if not quantum:
        return ["No network here is described as quantum, so these numbers are not about a quantum advantage."]
    if not controls:
        return ["No classical control (linear, quadratic) was measured, so none of these numbers can be called a quantum advantage."]
    told = []
    if attack is not None and eps is not None:
        told = [text for name in quantum for text in _against_controls(book, attack, eps, name, controls)]
    rule = (
        "Nothing here is a quantum advantage that a linear or quadratic classical model shows as well. A control counts as level if the upper end "
        "of its 95 % interval reaches the lower end of the quantum network's (a rule that does not use that both saw the same images)."
    )
    last = "What no control shows is still one training run, one set of images and a few attacks: a reason to look further, not a proof."
    return [rule, *told, last]


def _what(book: Book, results: Results) -> str:
    note = results.datasets.get(book.dataset)
    trained = f", trained on {note.train} images of {note.name}," if note and note.train else ""
    attacked = f"{listed([str(n) for n in book.sizes])} images" if book.sizes else "no images"
    attacks = f" with {listed([attack.label for attack in book.attacks])}" if book.attacks else ""
    return f"{len(book.networks)} networks{trained} were attacked on {attacked} of {book.dataset}{attacks}."


def _clean(book: Book) -> str:
    rows = [(name, row) for name in book.targets if (row := book.clean(name))]
    if not rows:
        return "The rows hold no clean accuracies."
    text = "Accuracy on clean images: " + listed([f"{name} {number(row.value, 2)}" for name, row in rows])
    majority = next((row.majority for _, row in rows if row.majority is not None), None)
    if majority is None:
        return f"{text}; what always naming the commonest class would score is not recorded."
    return f"{text}; always naming the commonest class would score {number(majority, 2)}."


def _white_box(book: Book, attack: AttackName, eps: float) -> list[str]:
    rows = [(name, row) for name in book.sources if (row := book.find(attack, name, name, eps))]
    if not rows:
        return ["No network was attacked directly, so only transferred attacks were measured."]
    kept = listed([f"{name} {number(row.value, 2)}" for name, row in rows])
    return [f"Attacked directly ({attack.label}, eps {eps:g}), they still get right this share of the images: {kept}."]


def _halved(book: Book, row: Row) -> bool | None:
    """Whether less than half of the clean accuracy is left; None where there is no clean row."""
    clean = book.clean(row.target, row.n)
    return None if clean is None else row.value < clean.value / 2


def _transfers(book: Book, attack: AttackName, eps: float) -> list[str]:
    pairs = [(s, t) for s in book.sources for t in book.targets if s != t]
    rows = [row for s, t in pairs if (row := book.find(attack, s, t, eps)) and _halved(book, row) is not None]
    if not rows:
        return ["Whether attacks transfer was not measured."]
    texts = []
    for source in book.sources:
        hits = [row for row in rows if row.source == source and _halved(book, row)]
        if hits:
            texts.append(f"those made on {source} halve {listed([f'{row.target} (to {number(row.value, 2)})' for row in hits])}")
    start = "Of the same attacks carried over to another network"
    if not texts:
        return [f"{start}, none takes away more than half of the clean accuracy ({len(rows)} pairs)."]
    hits_count = sum(_halved(book, row) is True for row in rows)
    rest = len(rows) - hits_count
    end = f"in the other {rest} of {len(rows)} pairs the target keeps at least half" if rest else "no pair is left out"
    return [f"{start}, {'; '.join(texts)}; {end}. (Halve: less than half of the clean accuracy is left.)"]


def _against_controls(book: Book, attack: AttackName, eps: float, name: str, controls: Sequence[str]) -> list[str]:
    """One sentence a source: the quantum network and the controls under the same attack; attacked directly, each under its own."""
    texts = []
    for source in book.sources:
        row = book.find(attack, source, name, eps)
        if row is None or is_control(source):
            continue
        direct = source == name
        found = [other for control in controls if (other := book.find(attack, control if direct else source, control, eps))]
        if not found:
            continue
        reach = [f"{other.target} ({number(other.value, 2)})" for other in found if other.high >= row.low]
        less = [f"{other.target} ({number(other.value, 2)})" for other in found if other.high < row.low]
        verdicts = [f"{word}: {listed(part)}" for word, part in (("level with it or above", reach), ("below it", less)) if part]
        where = "Attacked directly" if direct else f"Under attacks made on {source}"
        texts.append(f"{where}, {name} keeps {number(row.value, 2)}; {'; '.join(verdicts)}.")
    return texts
