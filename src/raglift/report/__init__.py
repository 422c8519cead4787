"""The report of a run, in each of its forms."""
