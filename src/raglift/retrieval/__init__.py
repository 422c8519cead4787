"""Retrieval: embedders, the index, search, the tuned retriever."""
