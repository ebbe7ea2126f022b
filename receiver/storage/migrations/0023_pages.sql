-- The pages of results that come in several; their bytes are chunks of results, each page a part of its own.
CREATE TABLE page (
    job_id {text} NOT NULL,
    number {integer} NOT NULL,
    url {text} NOT NULL,
    next_url {text},
    size {integer} NOT NULL,
    sha256 {text} NOT NULL,
    content_type {text} NOT NULL,
    items {integer} NOT NULL,
    fetched_at {integer} NOT NULL,
    PRIMARY KEY (job_id, number)
);
