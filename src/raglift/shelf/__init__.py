"""The models of a run: weights that are loaded here, or a model on a server."""
