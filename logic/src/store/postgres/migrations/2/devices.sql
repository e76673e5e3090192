-- Makes devices known, and gives what was committed before: those that are new begin at the read marks of their
-- accounts.
CREATE FUNCTION enter_devices(apps bytea[], accounts bytea[], names bytea[], moment bigint)
RETURNS text LANGUAGE plpgsql
SET lock_timeout = '500ms' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    recent CONSTANT bigint := moment - 86400000000000;
    is_new boolean;
    stale  bigint[];
BEGIN
    SELECT bool_or(d.id IS NULL), array_agg(d.id) FILTER (WHERE d.seen_at < recent) INTO is_new, stale
    FROM unnest(apps, accounts, names) AS s (app, account, name)
    LEFT JOIN device d ON d.app = s.app AND d.account = s.account AND d.name = s.name;
    IF stale IS NOT NULL THEN
        PERFORM keep_durable();
        PERFORM FROM device d WHERE d.id = ANY (stale) ORDER BY d.id FOR NO KEY UPDATE;
        UPDATE device d SET seen_at = moment WHERE d.id = ANY (stale);
    END IF;
    -- One that was just being removed is new.
    IF is_new OR stale IS NOT NULL THEN
        PERFORM keep_durable();
        WITH made AS MATERIALIZED (
            INSERT INTO device (app, account, name, seen_at)
            SELECT DISTINCT s.app, s.account, s.name, moment
            FROM unnest(apps, accounts, names) AS s (app, account, name)
            WHERE NOT EXISTS (
                SELECT FROM device d WHERE d.app = s.app AND d.account = s.account AND d.name = s.name)
            ORDER BY 1, 2, 3
            ON CONFLICT DO NOTHING
            RETURNING id, app, account
        )
        INSERT INTO device_cursor (device, conversation, since, cursor)
        SELECT n.id, l.conversation, l.since, l.cursor
        FROM made n CROSS JOIN LATERAL (
            SELECT k.conversation, k.since, k.cursor FROM member k
            WHERE k.app = n.app AND k.account = n.account AND k.cursor > k.since OFFSET 0
        ) l;
    END IF;
    RETURN txid_current_snapshot()::text;
END
$$;

-- Moves cursors of devices over parts of conversations, and the read marks with them. `ofs`, `conversations` and
-- `are_groups` say which device acknowledges of which conversation, each pair once, and `firsts` and `lasts` with
-- which parts. Tells for each such pair that is a membership the cursor of its last one; no cursor where another
-- transaction has a membership, so that nothing was done.
--
-- Waits for no other transaction but for the memberships of the first device if it `waits`.
CREATE FUNCTION acknowledge(
    waits boolean,
    apps bytea[], accounts bytea[], names bytea[], moment bigint,
    ofs integer[], conversations bigint[], are_groups boolean[], firsts integer[], lasts integer[],
    froms bigint[], tos bigint[]
) RETURNS TABLE (place integer, cursor bigint) LANGUAGE plpgsql
SET lock_timeout = '500ms' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    devices bigint[];
    is_old  boolean;
    locked  integer[] := array_fill(0, ARRAY[cardinality(ofs)]);
    held    record;
BEGIN
    PERFORM keep_durable();
    FOR attempt IN 1..2 LOOP
        SELECT array_agg(d.id ORDER BY s.place), bool_or(d.id IS NULL OR d.seen_at < moment - 86400000000000)
        INTO devices, is_old
        FROM unnest(apps, accounts, names) WITH ORDINALITY AS s (app, account, name, place)
        LEFT JOIN device d ON d.app = s.app AND d.account = s.account AND d.name = s.name;
        EXIT WHEN attempt = 2 OR NOT is_old;
        PERFORM enter_devices(apps, accounts, names, moment);
    END LOOP;
    IF waits THEN
        BEGIN
            PERFORM FROM member k
            WHERE k.app = apps[1] AND k.account = accounts[1] AND k.conversation = ANY (conversations)
            ORDER BY k.conversation, k.since FOR NO KEY UPDATE;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
    FOR held IN
        SELECT s.place
        FROM unnest(ofs, conversations) WITH ORDINALITY AS s (device, conversation, place)
        CROSS JOIN LATERAL (
            SELECT FROM member k
            WHERE k.app = apps[s.device] AND k.account = accounts[s.device]
              AND k.conversation = s.conversation
            FOR NO KEY UPDATE SKIP LOCKED
        ) l
    LOOP
        locked[held.place] := locked[held.place] + 1;
    END LOOP;
    RETURN QUERY
    WITH times AS MATERIALIZED (
        SELECT s.place::integer, s.device, s.first, s.last, k.conversation, k.since, k.cursor AS read_mark,
               coalesce(k.until, k.head_seq) AS head, greatest(k.since, q.cursor) AS cursor,
               count(*) OVER (PARTITION BY s.place) > locked[s.place] AS is_busy
        FROM unnest(ofs, conversations, are_groups, firsts, lasts) WITH ORDINALITY
                 AS s (device, conversation, is_group, first, last, place)
        CROSS JOIN LATERAL (
            SELECT k.*, c.head_seq FROM member k JOIN conversation c ON c.id = k.conversation
            WHERE k.app = apps[s.device] AND k.account = accounts[s.device]
              AND k.conversation = s.conversation AND (c.a = '') = s.is_group
            OFFSET 0
        ) k
        LEFT JOIN device_cursor q ON q.device = devices[s.device] AND q.conversation = k.conversation
            AND q.since = k.since
    ), reached AS MATERIALIZED (
        SELECT t.*, greatest(t.cursor, (
                   SELECT max(least(tos[part], t.head)) FROM generate_series(t.first, t.last) AS part
                   WHERE froms[part] <= t.cursor + 1)) AS hi
        FROM times t
    ), kept AS (
        INSERT INTO device_cursor AS q (device, conversation, since, cursor)
        SELECT devices[r.device], r.conversation, r.since, r.hi FROM reached r
        WHERE r.hi > r.cursor AND NOT r.is_busy
        ON CONFLICT (device, conversation, since) DO UPDATE SET cursor = excluded.cursor
    ), read AS (
        UPDATE member k SET cursor = n.hi
        FROM (
            SELECT apps[r.device] AS app, accounts[r.device] AS account, r.conversation, r.since, max(r.hi) AS hi
            FROM reached r WHERE r.hi > r.read_mark AND NOT r.is_busy
            GROUP BY 1, 2, 3, 4
        ) n
        WHERE k.app = n.app AND k.account = n.account AND k.conversation = n.conversation
          AND k.since = n.since
    )
    SELECT DISTINCT ON (r.place) r.place, CASE WHEN NOT r.is_busy THEN r.hi END
    FROM reached r ORDER BY r.place, r.since DESC;
END
$$;
