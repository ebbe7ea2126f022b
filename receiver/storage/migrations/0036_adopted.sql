-- Jobs that callbacks made are few beside those that were submitted; the doctor looks for those of a provider and a time.
CREATE INDEX job_adopted ON job (provider, id) WHERE submission = 'none';
