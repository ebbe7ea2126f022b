-- The processes that serve this database, each with its last sign of life.
CREATE TABLE node (
    name {text} PRIMARY KEY,
    role {text} NOT NULL,
    started_at {integer} NOT NULL,
    seen_at {integer} NOT NULL
) {clustered} {hot};

-- Asked for each account-wide callback that names nobody known: may its submission be on its way?
CREATE INDEX due_submitting ON due (provider) WHERE step = 'submit';
