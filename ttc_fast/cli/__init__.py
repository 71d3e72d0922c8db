"""The command ``ttc-fast``."""
