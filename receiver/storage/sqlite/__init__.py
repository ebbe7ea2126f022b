"""SQLite under the store: one file, one process that serves it."""
