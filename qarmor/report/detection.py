"""Sections about attack detection as ``results.json`` has them."""

from __future__ import annotations

from dataclasses import dataclass

from qarmor.report.reader import Reader, bad

BY = ("all", "attack", "eps")


@dataclass(frozen=True)
class Rated:
    """One rate of a detector: of all images of a source, or of those of one attack or of one bin of eps (``by``)."""

    metric: str
    source: str
    attack: str
    by: str
    eps_low: float | None
    eps_high: float | None
    value: float
    low: float
    high: float
    successes: int | None
    n: int


@dataclass(frozen=True)
class Published:
    """A count of the paper, and the 95 % interval of our rate minus it."""

    metric: str
    successes: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A ROC curve against the images attacked on ``source``: pairs of false and true positive rate."""

    source: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Pair:
    """A detector of two networks. ``threshold`` of the score was set for the false positive rate ``nominal``."""

    dataset: str
    first: str
    second: str
    n: int | None
    threshold: float | None
    nominal: float | None
    rows: tuple[Rated, ...]
    paper: tuple[Published, ...]
    roc: tuple[Curve, ...]

    @property
    def both(self) -> str:
        """The source of images that were attacked on both networks."""
        return f"{self.first}+{self.second}"

    def find(self, metric: str, source: str) -> Rated | None:
        """The rate over all images of ``source``, ``""`` for the clean ones."""
        return next((row for row in self.rows if (row.metric, row.source, row.by) == (metric, source, "all")), None)


@dataclass(frozen=True)
class Detection:
    """Kind ``detection``."""

    entries: tuple[Pair, ...]


def pair(about: Reader) -> Pair:
    """An entry of kind ``detection``."""
    return Pair(
        dataset=about.name("dataset"),
        first=about.name("first"),
        second=about.name("second"),
        n=about.count("n"),
        threshold=about.number("threshold"),
        nominal=about.number("nominal"),
        rows=tuple(_rated(one) for one in about.each("rows")),
        paper=tuple(_published(one) for one in about.each("paper")),
        roc=tuple(_curve(one) for one in about.each("roc")),
    )


def _rated(about: Reader) -> Rated:
    by = about.text("by")
    if by not in BY:
        raise bad(about.path, f"{about.place('by')} should be one of {', '.join(BY)}, got {by!r}")
    value, low, high = (about.required(field) for field in ("value", "low", "high"))
    return Rated(
        about.name("metric"),
        about.text("source"),
        about.text("attack"),
        by,
        about.number("eps_low"),
        about.number("eps_high"),
        value,
        low,
        high,
        about.count("successes"),
        about.whole("n"),
    )


def _published(about: Reader) -> Published:
    return Published(about.name("metric"), about.whole("successes"), about.whole("n", 1), about.required("low"), about.required("high"))


def _curve(about: Reader) -> Curve:
    points = about.items("points")
    lines = Reader(about.path, {str(i): point for i, point in enumerate(points)}, about.place("points"))
    found = []
    for i in range(len(points)):
        rates = lines.numbers(str(i))
        if len(rates) != 2 or not all(0 <= value <= 1 for value in rates):
            raise bad(about.path, f"{lines.place(str(i))} should be a false and a true positive rate, each from 0 to 1")
        found.append((rates[0], rates[1]))
    return Curve(about.name("source"), tuple(found))
