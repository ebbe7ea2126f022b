"""Numbered SQL, carried out in order, each once."""
