-- The place in a distributed trace that a job belongs to, where whoever submitted it named one.
ALTER TABLE submission ADD COLUMN traceparent {text};
