"""What a run leaves for other programs: a model for everyone's loaders, logs for Inspect's viewer."""
