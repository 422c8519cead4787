"""An OpenAI-compatible server over `ask`, with a web page on it."""
