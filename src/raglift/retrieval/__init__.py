"""Retrieval: embedders, the index, search, the tuned retriever and the contexts it makes."""
