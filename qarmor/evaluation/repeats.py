"""One number from several trainings: the mean over seeds, with an interval that has both the seeds' error and the images'."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats

_LEVEL = 0.975


def over_seeds(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float, float]:
    """The mean of ``values``, one a seed, and its 95 % interval.

    ``lows`` and ``highs`` are each seed's interval over images. All seeds were judged on the same images, so the error of these doesn't average out:
    its part of the interval is the mean of the seeds' half-widths. The seeds' part is Student's interval of a mean, ``t * s / sqrt(R)`` with R - 1
    degrees of freedom. Both are added in squares, as MOVER does (Zou and Donner 2008). Of one seed it is that seed's own interval.

    Raises:
        ValueError: no seed, or numbers of values and bounds that differ.
    """
    count = len(values)
    if not count or not count == len(lows) == len(highs):
        raise ValueError(f"one value and one interval a seed, one seed or more, got {count} values, {len(lows)} and {len(highs)} bounds")
    if count == 1:
        return values[0], lows[0], highs[0]
    mean = statistics.fmean(values)
    seeds = float(stats.t.ppf(_LEVEL, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    below, above = mean - statistics.fmean(lows), statistics.fmean(highs) - mean
    return mean, mean - math.hypot(seeds, below), mean + math.hypot(seeds, above)
