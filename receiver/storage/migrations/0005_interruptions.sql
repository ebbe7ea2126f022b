-- An attempt that did not end, because its process did, is no failure of the handler: the two are counted apart.
ALTER TABLE dispatch ADD COLUMN failures {integer} NOT NULL DEFAULT 0;
ALTER TABLE dispatch ADD COLUMN interruptions {integer} NOT NULL DEFAULT 0;
UPDATE dispatch SET failures = CASE WHEN owner IS NULL THEN attempt ELSE attempt - 1 END WHERE attempt > 0;

-- What was interrupted runs alone, so it is looked for apart from the rest.
CREATE INDEX dispatch_interrupted ON dispatch (run_at, job_id) WHERE state = 'ready' AND interruptions > 0;
