"""Noun → JSON document: what the API answers and what ``--json`` prints, from one place.

Times are RFC 3339 in UTC with milliseconds. No document holds a token, a signature or a body: where the outside put
one into a text that is shown, it is masked (``masking.py``).
"""
