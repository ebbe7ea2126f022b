-- What a handler orders its completions by, and whether a dead one holds those behind it up.
ALTER TABLE handler ADD COLUMN ordered_by {text};
ALTER TABLE handler ADD COLUMN on_dead {text};

-- Dispatches of such handlers stand in lines, one for each key; the first of a line is ready, the others are lined.
-- Their order is that of the feed: of completions by their place there, of others by the place that came before them.
ALTER TABLE dispatch ADD COLUMN line {text};
ALTER TABLE dispatch ADD COLUMN place {integer};
ALTER TABLE dispatch ADD COLUMN told {text};

CREATE INDEX dispatch_line ON dispatch (handler, line, state, place, told) WHERE line IS NOT NULL;
CREATE INDEX dispatch_unplaced ON dispatch (handler, told) WHERE line IS NOT NULL AND place IS NULL;
