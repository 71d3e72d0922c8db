"""How the next thought is drawn, and the stochastic decode on every backend."""
