"""Arrays in, results out: comparisons, power, intervals and agreement; knows nothing of files or models."""
