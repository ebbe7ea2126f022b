"""The documents, and what in them is written from the code: ``python -m tests.documentation --write``."""
