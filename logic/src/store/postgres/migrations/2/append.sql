-- Planner settings of all functions: every statement looks rows up by keys, but statistics that are older than
-- the rows make the planner read whole tables, so joins are nested loops in the order written. Compiling a
-- statement takes longer than running these does.

-- Makes direct conversations with their members. Leaves out one that another transaction is making, but waits
-- for the first one if it `waits`.
CREATE FUNCTION make_conversations(
    waits boolean, places integer[], apps bytea[], ones bytea[], others bytea[]
) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '1ms' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    part integer[] := places;
    nth  integer := 0;
BEGIN
    LOOP
        BEGIN
            WITH made AS (
                INSERT INTO conversation (app, a, b)
                SELECT apps[s.place], ones[s.place], others[s.place] FROM unnest(part) AS s (place)
                ORDER BY 1, 2, 3
                ON CONFLICT DO NOTHING
                RETURNING id, app, a, b
            )
            INSERT INTO member (app, account, conversation)
            SELECT app, a, id FROM made UNION SELECT app, b, id FROM made;
            -- All at once.
            EXIT WHEN nth = 0;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        -- Or one by one.
        nth := nth + 1;
        EXIT WHEN nth > cardinality(places);
        part := places[nth:nth];
        PERFORM set_config('lock_timeout', CASE WHEN waits AND part[1] = 1 THEN '500ms' ELSE '1ms' END, true);
    END LOOP;
END
$$;

-- Finds the rows of direct conversations, 0 where there is none; those in `ids` that are not 0 are known.
CREATE FUNCTION find_conversations(ids bigint[], apps bytea[], ones bytea[], others bytea[])
RETURNS bigint[] LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT array_agg(CASE s.id WHEN 0 THEN coalesce(c.id, 0) ELSE s.id END ORDER BY s.place)
    FROM unnest(ids, apps, ones, others) WITH ORDINALITY AS s (id, app, a, b, place)
    LEFT JOIN conversation c ON s.id = 0 AND c.app = s.app AND c.a = s.a AND c.b = s.b
$$;

-- Stores messages, each at the next sequence of its conversation, and tells what became of each: 0 stored, 1 a
-- repeat, which is told as it was stored first, 2 no such group, 3 its sender is not a member, 4 left out, as
-- another transaction has its conversation. Of a stored one `after` is the transaction of the message before it.
--
-- Conversations (`ids` to `are_groups`) are named once; `ofs` are their places, one for each message. A direct
-- conversation whose row is not known has the id 0 and both sides. No two messages have one request.
--
-- Waits for nothing that another transaction holds but for the first conversation if it `waits`, and takes that
-- before all others, so there is no deadlock. Each statement sees what was committed before it began: those after
-- the locks everything that the conversations' last holders did (PostgreSQL 15, 13.2.1).
CREATE FUNCTION append_messages(
    waits boolean,
    ids bigint[], apps bytea[], ones bytea[], others bytea[], are_groups boolean[],
    ofs integer[], senders bytea[], are_open boolean[], requests bytea[],
    kinds integer[], bodies bytea[], extras bytea[], message_ids bigint[], send_times bigint[], devices bytea[]
) RETURNS TABLE (
    place integer, state integer, conversation bigint, seq bigint, after bigint, version bigint,
    is_group boolean, other bytea, message_id bigint, send_time bigint, kind integer, body bytea, extra bytea
) LANGUAGE plpgsql
SET lock_timeout = '500ms' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    homes   bigint[] := ids;
    heads   bigint[] := array_fill(-1::bigint, ARRAY[cardinality(ids)]);
    commits bigint[] := array_fill(0::bigint, ARRAY[cardinality(ids)]);
    stamp   bigint := 0;
    missing integer[];
    held    record;
BEGIN
    PERFORM keep_durable();
    IF 0 = ANY (homes) THEN
        homes := find_conversations(homes, apps, ones, others);
        -- Repeats make no conversation.
        SELECT array_agg(DISTINCT s.home) INTO missing
        FROM unnest(ofs, requests) AS s (home, request)
        WHERE homes[s.home] = 0 AND NOT EXISTS (SELECT FROM message m WHERE m.request = s.request);
        IF missing IS NOT NULL THEN
            PERFORM make_conversations(waits, missing, apps, ones, others);
            homes := find_conversations(homes, apps, ones, others);
        END IF;
    END IF;
    IF waits THEN
        BEGIN
            PERFORM FROM conversation c WHERE c.id = homes[1] FOR NO KEY UPDATE;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
    FOR held IN
        SELECT s.place, l.head_seq, l.head_commit
        FROM unnest(homes, apps, are_groups) WITH ORDINALITY AS s (id, app, is_group, place)
        CROSS JOIN LATERAL (
            SELECT c.head_seq, c.head_commit FROM conversation c
            WHERE c.id = s.id AND c.app = s.app AND (c.a = '') = s.is_group
            FOR NO KEY UPDATE SKIP LOCKED
        ) l
    LOOP
        heads[held.place] := held.head_seq;
        commits[held.place] := held.head_commit;
        stamp := txid_current();
    END LOOP;
    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT s.place::integer, s.home, homes[s.home] AS id, are_groups[s.home] AS is_group,
               CASE
                   WHEN m.message_id IS NOT NULL THEN 1
                   WHEN heads[s.home] < 0 THEN CASE
                       WHEN are_groups[s.home] AND NOT EXISTS (
                           SELECT FROM conversation c
                           WHERE c.id = homes[s.home] AND c.app = apps[s.home] AND c.a = '') THEN 2
                       ELSE 4 END
                   WHEN are_groups[s.home] AND NOT s.is_open AND NOT EXISTS (
                       SELECT FROM member k
                       WHERE k.app = apps[s.home] AND k.account = s.sender
                         AND k.conversation = homes[s.home] AND k.until IS NULL) THEN 3
                   ELSE 0
               END AS state,
               m.message_id, m.conversation
        FROM unnest(ofs, senders, are_open, requests) WITH ORDINALITY
                 AS s (home, sender, is_open, request, place)
        LEFT JOIN message m ON m.request = s.request
    ), judged AS MATERIALIZED (
        SELECT a.*, row_number() OVER (PARTITION BY a.home, a.state ORDER BY a.place) AS nth
        FROM asked a
    ), stored AS (
        INSERT INTO message (message_id, conversation, seq, sender, kind, body, extra, send_time, request, commit_id,
                             device)
        SELECT message_ids[j.place], j.id, heads[j.home] + j.nth, senders[j.place], kinds[j.place],
               bodies[j.place], extras[j.place], send_times[j.place], requests[j.place], stamp,
               devices[j.place]
        FROM judged j WHERE j.state = 0
    ), moved AS (
        UPDATE conversation c SET head_seq = c.head_seq + n.count, head_commit = stamp
        FROM (SELECT j.id, count(*) AS count FROM judged j WHERE j.state = 0 GROUP BY j.id) n
        WHERE c.id = n.id
    )
    SELECT j.place, j.state, coalesce(j.conversation, j.id), coalesce(m.seq, heads[j.home] + j.nth),
           CASE j.nth WHEN 1 THEN commits[j.home] ELSE stamp END, coalesce(g.version, 0),
           coalesce(c.a = '', j.is_group), CASE c.a WHEN m.sender THEN c.b ELSE c.a END,
           m.message_id, m.send_time, m.kind, m.body, m.extra
    FROM judged j
    LEFT JOIN message m ON m.message_id = j.message_id
    LEFT JOIN conversation c ON c.id = j.conversation
    LEFT JOIN grp g ON g.conversation = coalesce(j.conversation, CASE WHEN j.is_group THEN j.id END);
END
$$;
