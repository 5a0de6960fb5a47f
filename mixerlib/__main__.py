"""`python -m mixerlib` is the command `mixerlib`."""

import sys

from mixerlib.cli import main

sys.exit(main())
