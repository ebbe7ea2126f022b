-- Alarms: conditions that somebody must see to. Each is raised once, by whichever node looks, and cleared once.
CREATE TABLE alarm (
    id {text} PRIMARY KEY,
    name {text} NOT NULL,
    provider {text} NOT NULL,
    subject {text} NOT NULL,
    raised_at {integer} NOT NULL,
    cleared_at {integer},
    -- Since when nothing has been found any more.
    calm_since {integer},
    cause {text} NOT NULL,
    advice {text} NOT NULL
) {clustered};

CREATE UNIQUE INDEX alarm_raised ON alarm (name, provider, subject) WHERE cleared_at IS NULL;

-- When somebody last looked for all: one node a round.
CREATE TABLE alarm_round (
    name {text} PRIMARY KEY,
    node {text} NOT NULL,
    at {integer} NOT NULL
);

-- What sinks are still to be told of alarms.
CREATE TABLE alarm_notice (
    alarm_id {text} NOT NULL,
    word {text} NOT NULL,
    sink {text} NOT NULL,
    made_at {integer} NOT NULL,
    run_at {integer} NOT NULL,
    attempt {integer} NOT NULL,
    PRIMARY KEY (alarm_id, word, sink)
);

-- Jobs past their deadline whose provider gives no answer: only these rows are in it, so no callback pays for it.
CREATE INDEX due_doubt ON due (doubt_since) WHERE doubt_since IS NOT NULL;
