-- Messages of a conversation in low < seq <= high that an account sees, the first `most` of them, or the last ones
-- if `newest`; a row without a message where it may see that conversation at all.
CREATE FUNCTION read_history(
    in_app bytea, in_account bytea, in_conversation bigint, in_group boolean,
    low bigint, high bigint, newest boolean, most bigint
) RETURNS TABLE (
    message_id bigint, send_time bigint, conversation bigint, is_group boolean, other bytea,
    seq bigint, sender bytea, kind integer, body bytea, extra bytea
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH times AS MATERIALIZED (
        SELECT greatest(k.since, low) AS low, least(k.until, high) AS high FROM member k
        WHERE k.app = in_app AND k.account = in_account AND k.conversation = in_conversation
    ), first AS MATERIALIZED (
        SELECT l.* FROM times t CROSS JOIN LATERAL (
            SELECT m.message_id, m.seq FROM message m
            WHERE NOT newest AND m.conversation = in_conversation AND m.seq > t.low AND m.seq <= t.high
            ORDER BY m.seq LIMIT most
        ) l
        ORDER BY l.seq LIMIT most
    ), last AS MATERIALIZED (
        SELECT l.* FROM times t CROSS JOIN LATERAL (
            SELECT m.message_id, m.seq FROM message m
            WHERE newest AND m.conversation = in_conversation AND m.seq > t.low AND m.seq <= t.high
            ORDER BY m.seq DESC LIMIT most
        ) l
        ORDER BY l.seq DESC LIMIT most
    )
    SELECT m.message_id, m.send_time, c.id, c.a = '', CASE c.a WHEN in_account THEN c.b ELSE c.a END,
           m.seq, m.sender, m.kind, m.body, m.extra
    FROM conversation c
    LEFT JOIN LATERAL (SELECT * FROM first UNION ALL SELECT * FROM last) l ON true
    LEFT JOIN message m ON m.message_id = l.message_id
    WHERE c.id = in_conversation AND c.app = in_app AND (c.a = '') = in_group AND EXISTS (SELECT FROM times)
    ORDER BY m.seq;
END
$$;

-- Conversations of an account, the latest active first, those before (before_at, before_tie); unread messages are
-- counted up to `counted`.
CREATE FUNCTION list_conversations(
    in_app bytea, in_account bytea, before_at bigint, before_tie bigint, most bigint, counted bigint
) RETURNS TABLE (
    message_id bigint, send_time bigint, conversation bigint, is_group boolean, other bytea,
    seq bigint, sender bytea, kind integer, body bytea, extra bytea,
    active bigint, head bigint, cursor bigint, name bytea, unread bigint
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- A member's times in a group, and its one time in each direct conversation.
    RETURN QUERY
    WITH times AS MATERIALIZED (
        SELECT c.id, c.is_group, k.since, greatest(k.cursor, k.since) AS cursor,
               coalesce(k.until, c.head_seq) AS head, k.joined_at, c.other,
               row_number() OVER (PARTITION BY c.id ORDER BY k.since DESC) AS nth
        FROM member k CROSS JOIN LATERAL (
            SELECT c.id, c.a = '' AS is_group, c.head_seq,
                   CASE c.a WHEN in_account THEN c.b ELSE c.a END AS other
            FROM conversation c WHERE c.id = k.conversation OFFSET 0
        ) c
        WHERE k.app = in_app AND k.account = in_account
    ), listed AS (
        SELECT t.id, max(greatest(t.joined_at, coalesce(n.message_id, 0))) AS at
        FROM times t
        LEFT JOIN message n ON n.conversation = t.id AND n.seq = t.head AND t.head > t.since
        GROUP BY t.id
    ), page AS MATERIALIZED (
        SELECT l.id, l.at FROM listed l
        WHERE l.at < before_at OR (l.at = before_at AND l.id < before_tie)
        ORDER BY l.at DESC, l.id DESC LIMIT most
    )
    SELECT l.message_id, l.send_time, t.id, t.is_group, t.other, l.seq, l.sender, l.kind, l.body, l.extra,
           p.at, t.head, t.cursor, g.name,
           (SELECT count(*) FROM (
                SELECT FROM times u JOIN message m
                    ON m.conversation = u.id AND m.seq > u.cursor AND m.seq <= u.head
                WHERE u.id = p.id AND m.sender <> in_account LIMIT counted) AS news)
    FROM page p
    JOIN times t ON t.id = p.id AND t.nth = 1
    LEFT JOIN grp g ON g.conversation = p.id
    LEFT JOIN LATERAL (
        SELECT n.* FROM times u CROSS JOIN LATERAL (
            SELECT m.* FROM message m
            WHERE m.conversation = u.id AND m.seq > u.since AND m.seq <= u.head
            ORDER BY m.seq DESC LIMIT 1
        ) n
        WHERE u.id = p.id ORDER BY n.seq DESC LIMIT 1
    ) l ON true
    ORDER BY p.at DESC, p.id DESC;
END
$$;

-- Removes some of what is old; says how many messages and devices. What another transaction has is left to it.
-- A device stays a day longer, as nothing more precise is known of when it was there.
CREATE FUNCTION prune(below bigint, most bigint) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    gone    bigint[];
    removed bigint;
BEGIN
    DELETE FROM change WHERE request IN (
        SELECT c.request FROM change c WHERE c.made_at < below
        ORDER BY c.made_at LIMIT most FOR UPDATE SKIP LOCKED);
    WITH old AS (
        DELETE FROM device WHERE id IN (
            SELECT d.id FROM device d WHERE d.seen_at < below - 86400000000000
            ORDER BY d.seen_at LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING id
    )
    SELECT array_agg(id) INTO gone FROM old;
    DELETE FROM device_cursor WHERE device = ANY (gone);
    DELETE FROM message WHERE message_id IN (
        SELECT m.message_id FROM message m WHERE m.message_id < below
        ORDER BY m.message_id LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed + coalesce(cardinality(gone), 0);
END
$$;
