"""The durable record: one Store over a driver for each database."""
