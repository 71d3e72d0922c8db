"""Where the process begins: what must be ready before anything that takes time to import."""

from __future__ import annotations

import sys

from . import interruption


def main(argv: list[str] | None = None) -> int:
    """The command ``ttc-fast``.

    Args:
        argv: the command line; default that of the process.

    Returns:
        The exit status; see :func:`ttc_fast.cli.main.main`.
    """
    interruption.install()
    try:
        from .streams import ensure

        ensure()
        from .main import main as command

        status = command(argv)
    except KeyboardInterrupt:
        interruption.end()
    interruption.ignore()
    return status


if __name__ == "__main__":
    sys.exit(main())
