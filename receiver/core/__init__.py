"""What is decided, apart from how it is carried: no clock, no network, no database in here."""
