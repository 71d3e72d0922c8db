"""Repeated samples of real language models: files in, figures out."""
