-- The callbacks of a provider, by when they came: a number takes a third of the room that an id takes.
CREATE INDEX callback_provider ON callback (provider, received_at);
-- Duplicates are listed, too.
DROP INDEX callback_unsettled;
CREATE INDEX callback_unsettled ON callback (verdict, provider, id) WHERE verdict <> 'accepted';
