-- Completions without a place stand in a table of their own: one short row, in one tree, is all that an end pays for the
-- feed. Whoever reads the feed gives places, and pays for the rest.
DROP INDEX completion_unplaced;
DROP INDEX completion_place;
CREATE TABLE unplaced (
    id {text} PRIMARY KEY,
    job_id {text} NOT NULL,
    replay_id {text} NOT NULL,
    provider {text} NOT NULL,
    state {text} NOT NULL
) {clustered} {hot};
INSERT INTO unplaced (id, job_id, replay_id, provider, state)
SELECT id, job_id, replay_id, provider, state FROM completion WHERE place IS NULL;

CREATE TABLE placed (
    place {integer} PRIMARY KEY,
    id {text} NOT NULL,
    job_id {text} NOT NULL,
    replay_id {text} NOT NULL,
    provider {text} NOT NULL,
    state {text} NOT NULL
);
INSERT INTO placed (place, id, job_id, replay_id, provider, state)
SELECT place, id, job_id, replay_id, provider, state FROM completion WHERE place IS NOT NULL;
DROP TABLE completion;
ALTER TABLE placed RENAME TO completion;
CREATE INDEX completion_job ON completion (job_id);
