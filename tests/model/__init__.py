"""A model of everything that may happen to a receiver, by chance and by the seed; README.md says how to run it."""
