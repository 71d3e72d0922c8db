"""From the candidates of a run to the metrics of every technique and budget."""
