-- How an open job ends whose provider has said that it did not succeed, while it is asked why and for a result.
ALTER TABLE job ADD COLUMN ends_as {text};
UPDATE job SET ends_as = 'failed'
WHERE ended_at IS NULL AND error_code IS NOT NULL AND error_code <> 'failure_hinted';

-- Why somebody should look at a job, and the provider's word that says so.
ALTER TABLE job ADD COLUMN attention {text};
ALTER TABLE job ADD COLUMN word {text};
