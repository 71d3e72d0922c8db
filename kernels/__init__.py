"""Triton side of ttc-fast, imported as ``ttc_fast.kernels``: the only place that imports triton.

Its modules are loaded by name, so that the library can be imported where Triton is missing.
"""
