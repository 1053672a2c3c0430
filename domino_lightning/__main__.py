"""`python -m domino_lightning`: the command `domino`."""

import sys

from domino_lightning.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
