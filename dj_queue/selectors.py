"""Which queues a worker serves: exact names, `prefix*`, and `*` for the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class SelectorKind(StrEnum):
    """How a selector compares."""

    ALL = "all"
    PREFIX = "prefix"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Selector:
    """One entry of a worker's `queues`."""

    kind: SelectorKind
    text: str
    """The exact name or the prefix; empty for `*`."""

    def matches(self, queue_name: str) -> bool:
        """Whether *queue_name* is served by this selector."""
        match self.kind:
            case SelectorKind.ALL:
                return True
            case SelectorKind.PREFIX:
                return queue_name.startswith(self.text)
            case SelectorKind.EXACT:
                return queue_name == self.text


@dataclass(frozen=True, slots=True)
class QueueSelection:
    """The selectors of a worker, in the order in which it prefers them."""

    selectors: tuple[Selector, ...]

    def matches(self, queue_name: str) -> bool:
        """Whether any selector serves *queue_name*."""
        return any(selector.matches(queue_name) for selector in self.selectors)

    @property
    def is_everything(self) -> bool:
        """Whether the first choice is `*`, so that nothing after it can matter."""
        return self.selectors[0].kind is SelectorKind.ALL

    def __str__(self) -> str:
        return ",".join(_written(selector) for selector in self.selectors)


EVERYTHING = QueueSelection((Selector(SelectorKind.ALL, ""),))


def parse_selectors(names: str | Iterable[str] | None) -> QueueSelection:
    """Read selectors as they stand in settings; None and an empty list mean every queue.

    A `*` anywhere but at the end is an ordinary character. What follows a `*` in the list is dropped:
    `*` has already taken everything. Raises `ValueError` for an empty name.
    """
    listed: Sequence[str] = [names] if isinstance(names, str) else list(names or ["*"])
    selectors: list[Selector] = []
    for name in listed:
        selector = _parse_one(name)
        if selector not in selectors:
            selectors.append(selector)
        if selector.kind is SelectorKind.ALL:
            break
    return QueueSelection(tuple(selectors)) if selectors else EVERYTHING


def _parse_one(name: str) -> Selector:
    if not isinstance(name, str) or not name:
        raise ValueError(f"a queue selector must be a non-empty string, not {name!r}")
    if name == "*":
        return Selector(SelectorKind.ALL, "")
    if name.endswith("*"):
        return Selector(SelectorKind.PREFIX, name[:-1])
    return Selector(SelectorKind.EXACT, name)


def _written(selector: Selector) -> str:
    return selector.text if selector.kind is SelectorKind.EXACT else f"{selector.text}*"
