-- The record of a job: what was submitted, what arrived, what was asked, what the handlers did.
-- Times are milliseconds since the Unix epoch. Words in {braces} are each driver's own text.

CREATE TABLE job (
    id {text} PRIMARY KEY,
    provider {text} NOT NULL,
    operation {text} NOT NULL,
    state {text} NOT NULL,
    delivery {text} NOT NULL,
    key_id {text} NOT NULL,
    remote_id {text},
    response_url {text},
    cancel_url {text},
    created_at {integer} NOT NULL,
    submitted_at {integer},
    succeeded_at {integer},
    ended_at {integer},
    deadline_at {integer} NOT NULL,
    keep_ms {integer},
    keep_from {text} NOT NULL,
    submission {text} NOT NULL,
    cancel_requested_at {integer},
    woken_by {text},
    settled_by {text},
    held_callback {text},
    held_offset {integer},
    held_size {integer},
    held_sha256 {text},
    held_type {text},
    error_code {text},
    error_text {text},
    callbacks {integer} NOT NULL
) {clustered} {hot};

CREATE INDEX job_unsettled ON job (state, id) WHERE state <> 'succeeded';
CREATE INDEX job_provider ON job (provider, id);
CREATE INDEX job_remote ON job (provider, remote_id) WHERE remote_id IS NOT NULL;

-- Apart from the job, because requests are large and the path of a callback never reads them.
CREATE TABLE submission (
    job_id {text} PRIMARY KEY,
    request {blob} NOT NULL,
    request_sha256 {text} NOT NULL,
    metadata {blob} NOT NULL,
    idempotency_key {text} UNIQUE,
    answer_status {integer},
    answer_body {blob},
    -- The key for this job's callbacks, where the provider's answer brought one; encrypted.
    sealed_key {blob}
) {clustered} {hot};

CREATE TABLE callback (
    id {text} PRIMARY KEY,
    provider {text} NOT NULL,
    route {text} NOT NULL,
    job_id {text},
    received_at {integer} NOT NULL,
    method {text} NOT NULL,
    query {blob} NOT NULL,
    headers {blob} NOT NULL,
    body {blob} NOT NULL,
    verdict {text} NOT NULL,
    code {text},
    key_id {text},
    delivery_id {text},
    remote_id {text}
);

CREATE INDEX callback_job ON callback (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX callback_unsettled ON callback (verdict, provider, id) WHERE verdict IN ('rejected', 'unreadable');

-- Account-wide callbacks that may belong to a job whose submit answer is still on its way.
CREATE TABLE held (
    callback_id {text} PRIMARY KEY,
    provider {text} NOT NULL,
    remote_id {text} NOT NULL,
    until {integer} NOT NULL,
    examined {blob} NOT NULL
) {hot};

-- What quarantine holds, per provider, with and without a valid token.
CREATE TABLE quarantine (
    provider {text} NOT NULL,
    named {integer} NOT NULL,
    entries {integer} NOT NULL,
    bytes {integer} NOT NULL,
    PRIMARY KEY (provider, named)
) {hot};

CREATE TABLE due (
    job_id {text} NOT NULL,
    step {text} NOT NULL,
    provider {text} NOT NULL,
    run_at {integer} NOT NULL,
    expires_at {integer},
    attempt {integer} NOT NULL,
    owner {text},
    failures {integer} NOT NULL,
    spent_url {text},
    result_url {text},
    candidate_id {text},
    PRIMARY KEY (job_id, step)
) {clustered} {hot};

CREATE INDEX due_when ON due (run_at, provider);

CREATE TABLE dispatch (
    job_id {text} NOT NULL,
    handler {text} NOT NULL,
    replay_id {text} NOT NULL,
    state {text} NOT NULL,
    run_at {integer} NOT NULL,
    attempt {integer} NOT NULL,
    owner {text},
    created_at {integer} NOT NULL,
    error_code {text},
    error_text {text},
    PRIMARY KEY (job_id, handler, replay_id)
) {clustered} {hot};

CREATE INDEX dispatch_ready ON dispatch (handler, run_at, job_id) WHERE state = 'ready';
CREATE INDEX dispatch_dead ON dispatch (job_id) WHERE state = 'dead';

CREATE TABLE attempt (
    job_id {text} NOT NULL,
    id {text} NOT NULL,
    step {text} NOT NULL,
    handler {text} NOT NULL,
    replay_id {text} NOT NULL,
    number {integer} NOT NULL,
    started_at {integer} NOT NULL,
    duration_ms {integer} NOT NULL,
    outcome {text} NOT NULL,
    code {text},
    detail {blob} NOT NULL,
    PRIMARY KEY (job_id, id)
) {clustered};

-- Following what happens (receiver tail) asks for the latest runs of all jobs, by when they ended.
CREATE INDEX attempt_ended ON attempt ((started_at + duration_ms));

CREATE TABLE result_chunk (
    job_id {text} NOT NULL,
    part {integer} NOT NULL,
    number {integer} NOT NULL,
    data {blob} NOT NULL,
    PRIMARY KEY (job_id, part, number)
);

CREATE TABLE handler (
    name {text} PRIMARY KEY,
    provider {text},
    state {text} NOT NULL,
    seen_at {integer} NOT NULL
);

-- What remains of a pruned job, so that a late retry is still known as a duplicate.
CREATE TABLE pruned (
    digest {blob} PRIMARY KEY,
    pruned_at {integer} NOT NULL
) {clustered};
