"""Small statistics: medians, percentiles and what a metric is called."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figures", "Metric", "percentile"]

type Figures = dict[str, float | None]
"""Value by key of the metric; None where it could not be measured on this machine."""


@dataclass(frozen=True)
class Metric:
    """One row of the report."""

    key: str
    """Unique among all scenarios; also the key in the JSON file."""
    title: str
    """With the unit."""
    more_is_better: bool
    """Rates are better when higher, everything else when lower."""
    decimals: int = 0
    """Digits after the point in the report."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of *values* that at least *share* (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
