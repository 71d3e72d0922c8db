"""Settings, runs, plans, and what is written of them."""
