-- What is done about the files that a job's result links to: before, beside or never.
ALTER TABLE job ADD COLUMN files_when {text} NOT NULL DEFAULT 'never';

-- The files of results: waiting, stored or lost. The bytes are in the file store, under their digest.
CREATE TABLE file (
    job_id {text} NOT NULL,
    number {integer} NOT NULL,
    state {text} NOT NULL,
    name {text} NOT NULL,
    place {text} NOT NULL,
    source {text} NOT NULL,
    code {text},
    size {integer},
    content_type {text},
    sha256 {text},
    stored_at {integer},
    PRIMARY KEY (job_id, number)
) {clustered};

-- The sweep asks whether anybody still has these bytes.
CREATE INDEX file_bytes ON file (sha256) WHERE sha256 IS NOT NULL;

-- Files that are still to be fetched; what is stored or lost leaves this table.
CREATE TABLE download (
    job_id {text} NOT NULL,
    number {integer} NOT NULL,
    provider {text} NOT NULL,
    url {text} NOT NULL,
    origin {text} NOT NULL,
    authenticated {integer} NOT NULL,
    largest {integer} NOT NULL,
    run_at {integer} NOT NULL,
    expires_at {integer} NOT NULL,
    attempt {integer} NOT NULL,
    owner {text},
    failures {integer} NOT NULL,
    renewed {integer} NOT NULL,
    partial {text},
    received {integer} NOT NULL,
    validator {text},
    PRIMARY KEY (job_id, number)
) {clustered} {hot};

-- What is deleted first is fetched first.
CREATE INDEX download_order ON download (expires_at, run_at, origin);

-- Which file store the record's bytes are in: a folder that is not the one says so by another id, or by none.
CREATE TABLE file_store (
    id {text} PRIMARY KEY,
    made_at {integer} NOT NULL
);
