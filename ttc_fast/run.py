"""The entry of ``python -m ttc_fast.run``: the command ``ttc-fast run``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
