"""A module that takes longer to import than a claimed job may wait, and then fails."""

import time

time.sleep(1.2)
raise RuntimeError("not after all this time")
