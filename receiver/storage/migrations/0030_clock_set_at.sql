-- When the clock was last set, by the clock as it was then: who starts soon after leaves what others hold alone.
ALTER TABLE clock_set ADD COLUMN set_at {integer};
