-- A sink that is told of a completion in its own commit, by NOTIFY in this very database: on which channel.
ALTER TABLE handler ADD COLUMN notice {text};
