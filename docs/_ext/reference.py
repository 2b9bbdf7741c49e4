"""A directive that writes the table of options from the code, so that the reference cannot be out of date.

    ```{options} WorkerConfig
    ```

stands for a table with every option of that dataclass in `dj_queue.config.options`: name, default and what
it means.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dj_queue.config import options


class OptionsTable(SphinxDirective):
    """`{options} Name`: the options of one dataclass as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown and let the page's own parser read it."""
        kind = getattr(options, self.arguments[0], None)
        if not is_dataclass(kind):
            raise self.error(f"dj_queue.config.options has no dataclass {self.arguments[0]!r}")
        self.env.note_dependency(options.__file__)
        container = nodes.container()
        table = StringList(table_of(kind).splitlines(), source=options.__file__)
        self.state.nested_parse(table, self.content_offset, container)
        return container.children


def table_of(kind: type) -> str:
    """The options of the dataclass *kind* as a Markdown table."""
    rows = [
        f"| `{name}` | {shown(default)} | {about.replace('|', '\\|')} |"
        for name, default, about in options.described_options(kind)
    ]
    return "\n".join(["| Option | Default | Meaning |", "|---|---|---|", *rows])


def shown(default: Any) -> str:
    """A default as a reader would write it; a dataclass stands for a mapping with its own defaults."""
    if isinstance(default, Mapping):
        return f"`{dict(default)}`"
    if isinstance(default, tuple) and any(map(is_dataclass, default)):
        return "one with defaults"
    if is_dataclass(default):
        return "`{}`"
    if default == "":
        return "none"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default) or "none"
    if isinstance(default, float) and default.is_integer():
        return f"`{int(default)}`"
    return f"`{default}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.add_directive("options", OptionsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
