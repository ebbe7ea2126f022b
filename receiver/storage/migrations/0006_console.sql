-- Who did what by hand, kept with the job that it is about.
CREATE TABLE audit (
    id {text} PRIMARY KEY,
    at {integer} NOT NULL,
    who {text} NOT NULL,
    role {text} NOT NULL,
    action {text} NOT NULL,
    -- The id of what was acted on; empty where it was a selection.
    subject {text} NOT NULL,
    job_id {text},
    outcome {text},
    detail {blob} NOT NULL
);

CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_job ON audit (job_id, id) WHERE job_id IS NOT NULL;

-- Who is signed in to the console, by the digest of what their browser holds. A ticket signs somebody in once.
CREATE TABLE console_session (
    digest {text} PRIMARY KEY,
    kind {text} NOT NULL,
    who {text} NOT NULL,
    role {text} NOT NULL,
    created_at {integer} NOT NULL,
    seen_at {integer} NOT NULL
) {clustered};
