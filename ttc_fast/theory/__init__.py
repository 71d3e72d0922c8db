"""Exact laws of the decoding rules: what a simulation should show. See README.md in this folder."""
