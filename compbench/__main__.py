"""`python -m compbench` is the command `compbench`."""

import sys

from compbench.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
