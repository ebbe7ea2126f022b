"""Where files are kept that results link to: in a folder, or in an object store. Each is found by its SHA-256."""
