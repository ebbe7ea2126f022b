-- What somebody signed in to the console with, as a digest: a session ends when that is no longer in force.
ALTER TABLE console_session ADD COLUMN proof {text} NOT NULL DEFAULT '';
