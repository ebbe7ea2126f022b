-- The switches of handlers: a row is there while failures are counted, while nothing is attempted but one trial at a time
-- (open), or while nothing is attempted at all (paused).
CREATE TABLE circuit (
    handler {text} PRIMARY KEY,
    state {text} NOT NULL,
    failures {integer} NOT NULL,
    trials {integer} NOT NULL,
    since {integer} NOT NULL,
    trial_at {integer},
    -- Who paused it; nobody did where its own failures or the other side's wish opened it.
    who {text},
    error_code {text},
    error_text {text}
) {clustered} {hot};
