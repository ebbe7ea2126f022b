"""Sinks: handlers that need no code. One file a kind; none is imported unless it is used."""
