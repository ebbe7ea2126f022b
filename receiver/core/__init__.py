"""The decisions, apart from how they are carried out: nothing in here uses a clock, a network or a database."""
