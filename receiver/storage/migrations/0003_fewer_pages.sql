-- In a large database each index that a callback changes is one more page to be written for it alone.

-- The first callback of a job is named by its job, whose row is written anyway, and mostly there is no second one.
ALTER TABLE job ADD COLUMN first_callback {text};
ALTER TABLE callback ADD COLUMN is_first {integer} NOT NULL DEFAULT 0;
DROP INDEX callback_job;
CREATE INDEX callback_job ON callback (job_id) WHERE job_id IS NOT NULL AND is_first = 0;

-- Most jobs have succeeded, and most of the others wait: these are found by what is due for them.
DROP INDEX job_unsettled;
CREATE INDEX job_state ON job (state, id) WHERE state NOT IN ('submitted', 'succeeded');
