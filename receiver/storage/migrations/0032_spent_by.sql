-- Whose GET of a single-use address was begun: the answer is with that node, so others leave it while it may come back.
ALTER TABLE due ADD COLUMN spent_by {text};
