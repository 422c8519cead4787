"""Graders: rubric (deterministic), judge (a language model), human review, and their agreement."""
