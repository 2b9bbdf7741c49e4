"""Tables of one page that are sorted and paged apart: `?queues_sort=-ready.name&queues_page=2`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type Columns[T] = Mapping[str, Callable[[T], Any]]


@dataclass(frozen=True, slots=True)
class Section[T]:
    """A part of a table, with what is needed to go through the rest."""

    name: str
    rows: list[T]
    page: int
    pages: int
    total: int
    sort: str
    columns: frozenset[str]

    @property
    def page_parameter(self) -> str:
        """The name of its page in the address."""
        return f"{self.name}_page"

    @property
    def sort_parameter(self) -> str:
        """The name of its order in the address."""
        return f"{self.name}_sort"

    @property
    def previous(self) -> int | None:
        """The page before this one."""
        return self.page - 1 if self.page > 1 else None

    @property
    def following(self) -> int | None:
        """The page after this one."""
        return self.page + 1 if self.page < self.pages else None

    def direction(self, column: str) -> str:
        """For `aria-sort`: how the table is sorted by *column*, if it is the first that it is sorted by."""
        first = self.sort.split(".")[0]
        if first.lstrip("-") != column:
            return "none"
        return "descending" if first.startswith("-") else "ascending"


def section[T](
    name: str, rows: Sequence[T], columns: Columns[T], query: Mapping[str, str], *, size: int
) -> Section[T]:
    """The page of *rows* that *query* asks for, in the order that it asks for.

    *columns* says what rows are sorted by. Unknown columns and pages that there are not are passed over.
    """
    order = [
        each for each in query.get(f"{name}_sort", "").split(".") if each.lstrip("-") in columns
    ]
    ordered = list(rows)
    for column in reversed(order):
        value = columns[column.lstrip("-")]
        ordered.sort(key=value, reverse=column.startswith("-"))
    pages = max(1, -(-len(ordered) // size))
    wanted = query.get(f"{name}_page", "1")
    page = min(pages, max(1, int(wanted))) if wanted.isdecimal() else 1
    return Section(
        name,
        ordered[(page - 1) * size : page * size],
        page,
        pages,
        len(ordered),
        ".".join(order),
        frozenset(columns),
    )
