-- Whether a file is to be fetched now is asked once a second, and mostly few are, however many wait for their time.
CREATE INDEX download_due ON download (run_at);
-- An origin that is left alone, or has all that it bears, is passed over whole.
CREATE INDEX download_origin ON download (origin, expires_at, run_at);
