-- Jobs that somebody should look at are found without reading the others: only they are in it, so no callback pays for it.
CREATE INDEX job_attention ON job (id) WHERE attention IS NOT NULL;
