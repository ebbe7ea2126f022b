-- Dead letters by handler, with what is told of each: the state is in it, for otherwise SQLite reads the row for it.
-- Only what is dead is in it, so a callback that makes a dispatch writes nothing here.
CREATE INDEX dispatch_letters ON dispatch (handler, job_id, error_code, created_at, state) WHERE state = 'dead';
