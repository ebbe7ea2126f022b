"""The wire: bytes from a socket become requests, and answers become bytes again."""
