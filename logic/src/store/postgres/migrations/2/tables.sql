-- The transaction that stored a message, as txid_current() tells it: 0 for what was stored before this version.
-- Messages of a conversation commit in the order of their sequences. Message ids need not rise with them: they
-- are nanoseconds with the number of a node in their last ten bits.
ALTER TABLE conversation ADD COLUMN head_commit bigint NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN commit_id bigint NOT NULL DEFAULT 0;
-- A server of an earlier version, which would not tell it, is refused.
ALTER TABLE message ALTER COLUMN commit_id DROP DEFAULT;
DROP FUNCTION last_until(bigint, bigint, bigint, bigint);
-- Which of its sender's devices sent a message: that one does not miss it.
ALTER TABLE message ADD COLUMN device bytea NOT NULL DEFAULT '';

-- A device of an account; sessions that name none share the one with an empty name. `seen_at` is at most a day
-- older than its last login or acknowledgement.
CREATE TABLE device (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app     bytea NOT NULL,
    account bytea NOT NULL,
    name    bytea NOT NULL,
    seen_at bigint NOT NULL,
    UNIQUE (app, account, name)
) WITH (fillfactor = 70);
CREATE INDEX device_seen ON device (seen_at);

-- How far a device has acknowledged a membership; where there is no row, nothing of it. Written by one who has
-- the membership's row locked. member.cursor is how far the account has read it on any device.
CREATE TABLE device_cursor (
    device       bigint NOT NULL,
    conversation bigint NOT NULL,
    since        bigint NOT NULL,
    cursor       bigint NOT NULL,
    PRIMARY KEY (device, conversation, since)
) WITH (fillfactor = 70);

-- Numbers that servers lease, so that no two give out the same message id; the primary key of messages guards
-- against a server that went on with one that it has lost.
CREATE TABLE node (
    number  integer PRIMARY KEY,
    owner   text,
    expires timestamptz NOT NULL
);
INSERT INTO node SELECT number, NULL, '-infinity' FROM generate_series(0, 1023) AS number;

-- Makes the transaction durable, whatever the database's default is: a commit returns after its log is on disk
-- (PostgreSQL 15, 20.5.1).
CREATE FUNCTION keep_durable() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END
$$;
