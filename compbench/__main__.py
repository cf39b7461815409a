"""`python -m compbench` is the command `compbench`."""

import sys

from compbench.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
