-- By how many milliseconds the clock that everything is planned by has been set so far.
CREATE TABLE clock_set (
    name {text} PRIMARY KEY,
    total {integer} NOT NULL
) {hot};
INSERT INTO clock_set (name, total) VALUES ('clock', 0);

-- By how much that clock, had it never been set, is ahead of each machine's steady one, which begins with its start.
CREATE TABLE clock_seen (
    boot {text} PRIMARY KEY,
    ahead {integer} NOT NULL,
    seen_at {integer} NOT NULL
) {hot};
