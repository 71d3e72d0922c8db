"""Repeated samples of real language models: files in, one log, figures with intervals out."""
