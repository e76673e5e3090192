-- Names and texts are bytea: they are any UTF-8, U+0000 included, which text cannot hold; they compare
-- byte by byte, whatever locale and encoding the database was made with. To read them in psql:
-- SET bytea_output = escape;

-- `a` < `b`, or `a` = `b` where somebody talks to oneself. That of a group has no `a`, and in `b` the
-- digest of the request that made it.
CREATE TABLE conversation (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app      bytea NOT NULL,
    a        bytea NOT NULL,
    b        bytea NOT NULL,
    head_seq bigint NOT NULL DEFAULT 0,
    UNIQUE (app, a, b)
) WITH (fillfactor = 70);

CREATE TABLE grp (
    conversation bigint PRIMARY KEY REFERENCES conversation (id),
    name         bytea NOT NULL,
    avatar       bytea NOT NULL,
    introduction bytea NOT NULL,
    owner        bytea NOT NULL,
    open         boolean NOT NULL,
    created_at   bigint NOT NULL,
    size         bigint NOT NULL,
    version      bigint NOT NULL
) WITH (fillfactor = 70);

-- A membership: its account sees the sequences past `since`, up to `until` once it has left. Whoever
-- comes back has another one. `position` is the place in the order of joining, of groups only.
CREATE TABLE member (
    app          bytea NOT NULL,
    account      bytea NOT NULL,
    conversation bigint NOT NULL REFERENCES conversation (id),
    since        bigint NOT NULL DEFAULT 0,
    until        bigint,
    cursor       bigint NOT NULL DEFAULT 0,
    joined_at    bigint NOT NULL DEFAULT 0,
    position     bigint,
    PRIMARY KEY (app, account, conversation, since)
) WITH (fillfactor = 70);
CREATE INDEX member_of_group ON member (conversation, position)
    WHERE position IS NOT NULL AND until IS NULL;

-- Requests that changed a group's members, so that a late repeat changes nothing.
CREATE TABLE change (
    request bytea PRIMARY KEY,
    made_at bigint NOT NULL
);
CREATE INDEX change_made ON change (made_at);

-- `request` is a digest of app, sender and the request's key. Ids and sequences of a conversation rise
-- together. No foreign key to the conversation: only one piece of code inserts here, in bulk, and it
-- has just read or made that row.
CREATE TABLE message (
    message_id   bigint PRIMARY KEY,
    conversation bigint NOT NULL,
    seq          bigint NOT NULL,
    sender       bytea NOT NULL,
    kind         integer NOT NULL,
    body         bytea NOT NULL,
    extra        bytea NOT NULL,
    send_time    bigint NOT NULL,
    request      bytea NOT NULL UNIQUE,
    UNIQUE (conversation, seq)
);

-- The greatest sequence in low..high whose message id is at most `until`; `low` where there is none. Ids
-- and sequences of a conversation rise together, without gaps, so halving finds it. What has been
-- pruned is older than everything else.
CREATE FUNCTION last_until(in_conversation bigint, low bigint, high bigint, until bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    under bigint := low;
    past  bigint := high;
    half  bigint;
BEGIN
    IF low >= high OR NOT EXISTS (
        SELECT FROM message m
        WHERE m.conversation = in_conversation AND m.seq = high AND m.message_id > until
    ) THEN
        RETURN greatest(low, high);
    END IF;
    WHILE past - under > 1 LOOP
        half := under + (past - under) / 2;
        IF EXISTS (
            SELECT FROM message m
            WHERE m.conversation = in_conversation AND m.seq = half AND m.message_id > until
        ) THEN
            past := half;
        ELSE
            under := half;
        END IF;
    END LOOP;
    RETURN under;
END
$$;
