-- Addresses that give their results once, and were asked, by their digests. What is due for a job forgets them with its
-- end, and a job that ended without its result may be looked at again.
CREATE TABLE spent (
    job_id {text} NOT NULL,
    sha256 {text} NOT NULL,
    PRIMARY KEY (job_id, sha256)
);
