"""Exact laws, and what they say of a run."""
