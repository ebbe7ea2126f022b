-- What a handler wants of a job's metadata, as JSON, and under which name it goes on if it was renamed.
ALTER TABLE handler ADD COLUMN metadata {text};
ALTER TABLE handler ADD COLUMN renamed_to {text};
-- The name that the handler of a dispatch had before: its idempotency key goes by that.
ALTER TABLE dispatch ADD COLUMN alias {text};
