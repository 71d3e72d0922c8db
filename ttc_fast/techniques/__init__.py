"""Inference techniques: many candidates in, one answer out; search; verifiers."""
