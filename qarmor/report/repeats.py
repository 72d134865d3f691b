"""Kind ``repeats`` as ``results.json`` has it: one accuracy under several seeds of training."""

from __future__ import annotations

from dataclasses import dataclass

from qarmor.report.reader import Reader, bad


@dataclass(frozen=True)
class Repeated:
    """Accuracy of ``target`` under each of ``seeds``, clean where ``source`` and ``attack`` are empty; the mean with its 95 % interval.

    The interval has the seeds' error and that of the ``n`` images.
    """

    dataset: str
    source: str
    target: str
    attack: str
    eps: float
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    n: int | None

    @property
    def spread(self) -> float:
        """From the least to the largest of the seeds' values."""
        return max(self.values) - min(self.values)


@dataclass(frozen=True)
class Repeats:
    """Kind ``repeats``."""

    entries: tuple[Repeated, ...]


def repeated(about: Reader) -> Repeated:
    """One entry. Raises ValueError where it isn't what it should be."""
    seeds, values = about.integers("seeds"), about.numbers("values")
    if not seeds or len(seeds) != len(values):
        raise bad(about.path, f"{about.where}: one value a seed, one seed or more, got {len(seeds)} seeds and {len(values)} values")
    return Repeated(
        dataset=about.name("dataset"),
        source=about.text("source"),
        target=about.name("target"),
        attack=about.text("attack"),
        eps=about.required("eps"),
        seeds=seeds,
        values=values,
        mean=about.required("mean"),
        low=about.required("low"),
        high=about.required("high"),
        n=about.count("n"),
    )
