"""PostgreSQL under the store: several nodes."""
