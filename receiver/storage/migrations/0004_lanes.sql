-- What is due stands in a lane (core/urgency), and a claim reads of each lane, by this index, no more than it takes.
ALTER TABLE due ADD COLUMN lane {integer} NOT NULL DEFAULT 3;
-- From when on the deletion of the result is near: what waits until then is moved to the lane of that.
ALTER TABLE due ADD COLUMN urgent_at {integer};
UPDATE due SET
    lane = CASE WHEN step <> 'look' THEN 0
                WHEN result_url IS NOT NULL OR EXISTS (SELECT 1 FROM job WHERE job.id = due.job_id
                    AND (job.state = 'fetching' OR job.woken_by IS NOT NULL)) THEN 2
                ELSE 3 END,
    urgent_at = expires_at - 3600000
WHERE step <> 'look' OR expires_at IS NOT NULL OR result_url IS NOT NULL OR EXISTS (SELECT 1 FROM job
    WHERE job.id = due.job_id AND (job.state = 'fetching' OR job.woken_by IS NOT NULL));
DROP INDEX due_when;
CREATE INDEX due_lane ON due (provider, lane, run_at);
CREATE INDEX due_urgent ON due (provider, urgent_at) WHERE lane > 1 AND urgent_at IS NOT NULL;
