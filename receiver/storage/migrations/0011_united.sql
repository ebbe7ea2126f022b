-- Jobs that turned out to be another one: two records of what one provider did once. What still names the younger
-- is led to the older by this. What its dispatches are called there: "" became this replay id.
CREATE TABLE united (
    job_id {text} PRIMARY KEY,
    into_id {text} NOT NULL,
    replay_id {text} NOT NULL
) {clustered} {hot};

CREATE INDEX united_into ON united (into_id);
