-- Messages of an account past the cursors of a device, or all that is kept if `everything`; only those of others,
-- or own ones too, or those but the ones that the device itself sent; with what they say, or without. Of each conversation by sequence without a hole, and by message
-- id as far as that allows: by the greatest id up to there, so that a page is a beginning of each of its
-- conversations. `start` is the sequence at which a membership begins.
--
-- `named`, ascending, are conversations with other starts (`named_seqs`). A message is left out if its commit is
-- below `low`, or below `high` and not in `open` (a mark), or if it is in a part of `froms` to `tos`: those with
-- the places `firsts` to `lasts` belong to the conversations `had`, ascending. Both name a conversation by the
-- double of its row, and one more for that of a group.
CREATE FUNCTION missing_messages(
    in_app bytea, in_account bytea, in_name bytea,
    everything boolean, only_others boolean, but_its_own boolean, with_content boolean, most bigint,
    named bigint[], named_seqs bigint[],
    low bigint, high bigint, open bigint[],
    had bigint[], firsts integer[], lasts integer[], froms bigint[], tos bigint[]
) RETURNS TABLE (
    message_id bigint, send_time bigint, conversation bigint, is_group boolean, other bytea,
    seq bigint, sender bytea, kind integer, body bytea, extra bytea, start bigint
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    owner bigint;
BEGIN
    SELECT d.id INTO owner FROM device d
    WHERE d.app = in_app AND d.account = in_account AND d.name = in_name;
    RETURN QUERY
    WITH times AS MATERIALIZED (
        SELECT k.conversation AS id, c.is_group, c.other, coalesce(k.until, c.head_seq) AS head,
               greatest(k.since, CASE
                   WHEN everything THEN k.since
                   WHEN named[c.as_named] = c.key THEN named_seqs[c.as_named]
                   WHEN owner IS NULL THEN k.cursor
                   ELSE q.cursor
               END) AS start,
               CASE WHEN had[c.as_had] = c.key THEN c.as_had END AS as_had
        FROM member k
        CROSS JOIN LATERAL (
            SELECT c.head_seq, c.head_commit, c.a = '' AS is_group,
                   CASE c.a WHEN in_account THEN c.b ELSE c.a END AS other, l.key,
                   -- The last one that is not greater.
                   width_bucket(l.key, named) AS as_named, width_bucket(l.key, had) AS as_had
            FROM conversation c CROSS JOIN LATERAL (SELECT 2 * c.id + (c.a = '')::integer AS key) l
            WHERE c.id = k.conversation OFFSET 0
        ) c
        LEFT JOIN device_cursor q ON q.device = owner AND q.conversation = k.conversation AND q.since = k.since
        WHERE k.app = in_app AND k.account = in_account
          -- What the newest message's transaction is to a mark, those before it are, too: they commit in order.
          AND NOT (c.head_commit < low OR (c.head_commit < high AND c.head_commit <> ALL (open)))
    ), news AS MATERIALIZED (
        SELECT t.*, greatest(t.start, CASE WHEN high > 0 THEN (
                   SELECT m.seq FROM message m
                   WHERE m.conversation = t.id AND m.seq > t.start AND m.seq <= t.head
                     AND (m.commit_id < low OR (m.commit_id < high AND m.commit_id <> ALL (open)))
                   ORDER BY m.seq DESC LIMIT 1) END) AS past
        FROM times t WHERE t.start < t.head
    ), page AS MATERIALIZED (
        SELECT n.*, m.message_id, m.seq,
               max(m.message_id) OVER (PARTITION BY n.id ORDER BY m.seq) AS turn
        FROM news n CROSS JOIN LATERAL (
            SELECT m.message_id, m.seq FROM message m
            WHERE m.conversation = n.id AND m.seq > n.past AND m.seq <= n.head
              AND NOT (only_others AND m.sender = in_account)
              AND NOT (but_its_own AND m.sender = in_account AND m.device = in_name)
              AND (n.as_had IS NULL OR NOT EXISTS (
                  SELECT FROM generate_series(firsts[n.as_had], lasts[n.as_had]) AS part
                  WHERE m.seq BETWEEN froms[part] AND tos[part]))
            ORDER BY m.seq LIMIT most
        ) m
        ORDER BY turn, m.seq LIMIT most
    )
    SELECT p.message_id, m.send_time, p.id, p.is_group, p.other, p.seq, m.sender, m.kind,
           CASE WHEN with_content THEN m.body END, CASE WHEN with_content THEN m.extra END, p.start
    FROM page p CROSS JOIN LATERAL (
        SELECT m.send_time, m.sender, m.kind, m.body, m.extra FROM message m
        WHERE m.message_id = p.message_id OFFSET 0
    ) m
    ORDER BY p.turn, p.seq;
END
$$;

-- Messages by their ids, of those that an account may see.
CREATE FUNCTION read_contents(in_app bytea, in_account bytea, ids bigint[]) RETURNS TABLE (
    place integer, message_id bigint, send_time bigint, conversation bigint, is_group boolean, other bytea,
    seq bigint, sender bytea, kind integer, body bytea, extra bytea
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.place::integer, m.message_id, m.send_time, c.id, c.a = '',
           CASE c.a WHEN in_account THEN c.b ELSE c.a END, m.seq, m.sender, m.kind, m.body, m.extra
    FROM unnest(ids) WITH ORDINALITY AS s (id, place)
    LEFT JOIN message m ON m.message_id = s.id
    LEFT JOIN conversation c ON c.id = m.conversation
    WHERE EXISTS (
        SELECT FROM member k
        WHERE k.app = in_app AND k.account = in_account AND k.conversation = m.conversation
          AND m.seq > k.since AND m.seq <= coalesce(k.until, m.seq));
END
$$;
