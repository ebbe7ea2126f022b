-- Providers that asked to be left alone (429, Retry-After), so that every node does.
CREATE TABLE pause (
    provider {text} PRIMARY KEY,
    until {integer} NOT NULL
) {hot};
