-- How much came and ended, by the quarter of an hour; each process writes rows of its own.
CREATE TABLE tally (
    bucket {integer} NOT NULL,
    node {text} NOT NULL,
    kind {text} NOT NULL,
    provider {text} NOT NULL,
    word {text} NOT NULL,
    count {integer} NOT NULL,
    PRIMARY KEY (bucket, node, kind, provider, word)
) {clustered};
