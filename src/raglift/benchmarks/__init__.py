"""This package beside the plain library way, in one run."""
