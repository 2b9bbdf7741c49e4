"""Tests of dj_queue.

What they start are processes by the hundred. Where PYTHONDONTWRITEBYTECODE is set, as many images of
containers do, each of them compiled Django and all else anew: 2.2 s of a core for a start instead of 0.9 s.
So what is compiled is kept after all: in the environment of the tests, not beside the sources.
"""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(sys.prefix, "pycache"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
