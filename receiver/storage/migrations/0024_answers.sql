-- The provider's last word about a job, whole: a callback, or a part of the stored bytes in which the result begins at
-- a place of its own.
ALTER TABLE job ADD COLUMN held_start {integer};
ALTER TABLE job ADD COLUMN answer_callback {text};
ALTER TABLE job ADD COLUMN answer_size {integer};
ALTER TABLE job ADD COLUMN answer_type {text};
