"""Whether a message is its sender's, and why not: schemes, keys, proofs and diagnosis."""
