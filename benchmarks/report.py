"""Collects the figures of all rounds and prints the one table."""

import json
import platform
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figures, Metric

__all__ = ["Report"]

_NOTHING = "-"


@dataclass
class Report:
    """The figures of a whole comparison."""

    contenders: Sequence[str]
    """Names, in the order of the columns; the first is compared with each of the others."""
    facts: dict[str, str] = field(default_factory=dict)
    """What a reader must know to judge the figures."""
    values: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """By metric, then by contender: one figure per round."""
    failures: list[str] = field(default_factory=list)
    """One line for every run that gave no figures."""

    def describe_machine(self, server: Mapping[str, str], cores: int | None) -> None:
        """Note what the figures depend on."""
        self.facts["machine"] = f"{platform.system()} {platform.machine()}, {cores} cores"
        self.facts["python"] = platform.python_version()
        self.facts["postgresql"] = ", ".join(f"{key} {value}" for key, value in server.items())

    def add(self, contender: str, figures: Figures) -> None:
        """Note the figures of one run."""
        for metric, value in figures.items():
            if value is not None:
                self.values[metric][contender].append(value)

    def table(self, metrics: Sequence[Metric]) -> str:
        """A Markdown table: median (min to max) per contender, and ratios of the first to each."""
        first, *others = self.contenders
        header = ["", "better", *self.contenders, *(f"{first} / {other}" for other in others)]
        rows = [header]
        for metric in metrics:
            if metric.key in self.values:
                rows.append(self._row(metric))
        return _align(rows)

    def text(self, metrics: Sequence[Metric]) -> str:
        """Facts, table and failures."""
        parts = ["\n".join(f"{name}: {fact}" for name, fact in self.facts.items())]
        parts.append(self.table(metrics))
        if self.failures:
            parts.append("\n".join(["Failed runs:", *self.failures]))
        return "\n\n".join(parts)

    def write_json(self, path: Path) -> None:
        """Write every single figure to *path*."""
        document = {"facts": self.facts, "figures": self.values, "failures": self.failures}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def _row(self, metric: Metric) -> list[str]:
        values = self.values[metric.key]
        first, *others = self.contenders
        cells = [_cell(values.get(name, []), metric.decimals) for name in self.contenders]
        ratios = [_ratio(values.get(first, []), values.get(other, [])) for other in others]
        return [metric.title, "more" if metric.more_is_better else "less", *cells, *ratios]


def _cell(values: Sequence[float], decimals: int) -> str:
    if not values:
        return _NOTHING
    median = f"{statistics.median(values):,.{decimals}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{decimals}f}..{max(values):,.{decimals}f})"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not ours or not theirs or statistics.median(theirs) == 0:
        return _NOTHING
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    header, *body = (
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows
    )
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *body])
