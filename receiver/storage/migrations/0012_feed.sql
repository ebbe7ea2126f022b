-- Completions in one order that never changes. A completion is written with its job and has no place yet; places are
-- given afterwards, one giver at a time, so that nobody who has read up to a place finds a completion behind it.
CREATE TABLE completion (
    id {text} PRIMARY KEY,
    job_id {text} NOT NULL,
    replay_id {text} NOT NULL,
    provider {text} NOT NULL,
    state {text} NOT NULL,
    place {integer}
) {clustered};

CREATE INDEX completion_unplaced ON completion (id) WHERE place IS NULL;
CREATE UNIQUE INDEX completion_place ON completion (place) WHERE place IS NOT NULL;

-- What ended before there was a feed stands at its beginning.
INSERT INTO completion (id, job_id, replay_id, provider, state)
SELECT 'cpl_' || substr(id, 5), id, '', provider, state FROM job WHERE ended_at IS NOT NULL;

-- The last place that was given, and the last whose completion was pruned.
CREATE TABLE feed (
    name {text} PRIMARY KEY,
    last {integer} NOT NULL,
    pruned {integer} NOT NULL
);
INSERT INTO feed (name, last, pruned) VALUES ('completions', 0, 0);

-- Where readers stand that have a name.
CREATE TABLE feed_reader (
    name {text} PRIMARY KEY,
    place {integer} NOT NULL,
    seen_at {integer} NOT NULL
);
