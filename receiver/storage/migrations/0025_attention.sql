-- Jobs that somebody should look at, and files that could not be had, are found without reading the others: only they are
-- in these, so no callback pays for them.
CREATE INDEX job_attention ON job (id) WHERE attention IS NOT NULL;
CREATE INDEX file_lost ON file (job_id) WHERE state = 'lost';
