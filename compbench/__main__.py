"""`python -m compbench` is the command `compbench`."""

import sys

from compbench.cli import main

sys.exit(main())
