-- Since when something has spoken for the end of a job that is not believed at once: a 404 after success, a clock that
-- ran out while the provider gave no answer.
ALTER TABLE due ADD COLUMN doubt_since {integer};
