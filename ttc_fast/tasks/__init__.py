"""In-context problems: the prompts, and how good an answer to them is."""
