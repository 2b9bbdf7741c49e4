"""A script without a guard: importing it ends the process, unless somebody holds on."""

import sys

sys.exit(3)
