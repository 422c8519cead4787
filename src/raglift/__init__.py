"""raglift: does RAG lift my fine-tuned model, on my own questions, and by how much?"""

__version__ = "0.1.0"
