"""Other people's tables, datasets and documents into an experiment folder."""
