"""Argument checks, random numbers, sums of fixed order, and the C++ extension."""
