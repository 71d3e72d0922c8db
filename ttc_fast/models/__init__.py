"""Transformers: what computes the next thought from the prompt and the thought."""
