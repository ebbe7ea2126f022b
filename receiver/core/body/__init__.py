"""What stands in a body, whatever its charset, its coding and its form: bytes in, members and fields out."""
