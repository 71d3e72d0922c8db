"""The entry of ``python -m ttc_fast.run``: the command ``ttc-fast run``. In Python ``ttc_fast.run`` is the function."""

import sys

from .cli.entry import main

if __name__ == "ttc_fast.run":  # imported, the module would hide the function
    raise ImportError("ttc_fast.run is the entry of `python -m ttc_fast.run`; the function: from ttc_fast import run")
if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
