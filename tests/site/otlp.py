"""The set-up that docs/tracing.md shows, as it stands there, for processes of the tests to be traced by."""

import os
import re
from pathlib import Path

VARIABLE = "DJ_QUEUE_TEST_OTLP"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "tracing.md"
DOCUMENTED = "http://localhost:4318/v1/traces"


def shown() -> str:
    """The program on the page that sets the SDK up."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if DOCUMENTED in block]
    return found


def install() -> None:
    """Execute what the page shows, with another address, if this process is to; called by the settings."""
    address = os.environ.get(VARIABLE)
    if address:
        exec(compile(shown().replace(DOCUMENTED, address), str(PAGE), "exec"), {})
