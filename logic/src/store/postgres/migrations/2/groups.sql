-- Members of a group in the order of joining.
CREATE FUNCTION list_members(in_conversation bigint) RETURNS bytea[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(k.account ORDER BY k.position), '{}') FROM member k
    WHERE k.conversation = in_conversation AND k.position IS NOT NULL AND k.until IS NULL
$$;

CREATE FUNCTION add_members(
    in_app bytea, in_conversation bigint, past bigint, moment bigint, first bigint, accounts bytea[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO member (app, account, conversation, cursor, since, joined_at, position)
    SELECT in_app, s.account, in_conversation, past, past, moment, first + s.place - 1
    FROM unnest(accounts) WITH ORDINALITY AS s (account, place)
    ON CONFLICT (app, account, conversation, since) DO UPDATE SET
        until = NULL, joined_at = excluded.joined_at, position = excluded.position
$$;

-- Makes a group, or finds the one that the same request made; no row where it had more than `most` members.
CREATE FUNCTION create_group(
    in_app bytea, request bytea, in_name bytea, in_avatar bytea, in_introduction bytea, in_owner bytea,
    is_open boolean, moment bigint, accounts bytea[], most bigint
) RETURNS TABLE (conversation bigint, members bytea[]) LANGUAGE plpgsql
SET lock_timeout = '3s' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    made bigint;
BEGIN
    PERFORM keep_durable();
    SELECT c.id INTO made FROM conversation c WHERE c.app = in_app AND c.a = '' AND c.b = request;
    IF made IS NULL THEN
        IF cardinality(accounts) > most THEN
            RETURN;
        END IF;
        -- Waits where the same request is under way elsewhere.
        INSERT INTO conversation AS c (app, a, b) VALUES (in_app, '', request)
        ON CONFLICT DO NOTHING RETURNING c.id INTO made;
        IF made IS NOT NULL THEN
            INSERT INTO grp (conversation, name, avatar, introduction, owner, open, created_at, size, version)
            VALUES (made, in_name, in_avatar, in_introduction, in_owner, is_open, moment / 1000000000,
                    cardinality(accounts), cardinality(accounts));
            PERFORM add_members(in_app, made, 0, moment, 0, accounts);
            RETURN QUERY SELECT made, accounts;
            RETURN;
        END IF;
        SELECT c.id INTO made FROM conversation c WHERE c.app = in_app AND c.a = '' AND c.b = request;
    END IF;
    RETURN QUERY SELECT made, list_members(made);
END
$$;

-- Adds an account to a group, or removes it; 0: done, 2: there is no such group, 3: the caller is not a member,
-- 4: nor the owner, 5: the group is full. Has the group's row locked meanwhile, so that no message nor another
-- change comes in between. A request that succeeded is remembered, also one that changed nothing, and a success
-- again, whatever its caller may do by now: a late repeat must not undo what came after.
CREATE FUNCTION change_group(
    joins boolean, in_app bytea, in_caller bytea, in_account bytea, in_conversation bigint,
    in_request bytea, moment bigint, most bigint
) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '3s' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    head      bigint;
    found_one grp;
    is_caller boolean;
    is_in     boolean;
BEGIN
    PERFORM keep_durable();
    SELECT c.head_seq INTO head FROM conversation c
    WHERE c.id = in_conversation AND c.app = in_app AND c.a = '' FOR NO KEY UPDATE;
    SELECT * INTO found_one FROM grp g WHERE g.conversation = in_conversation;
    IF head IS NULL OR found_one.conversation IS NULL THEN
        RETURN 2;
    END IF;
    IF EXISTS (SELECT FROM change c WHERE c.request = in_request) THEN
        RETURN 0;
    END IF;
    is_caller := EXISTS (SELECT FROM member k WHERE k.app = in_app AND k.account = in_caller
                             AND k.conversation = in_conversation AND k.until IS NULL);
    is_in := EXISTS (SELECT FROM member k WHERE k.app = in_app AND k.account = in_account
                         AND k.conversation = in_conversation AND k.until IS NULL);
    IF joins AND NOT is_caller AND NOT (found_one.open AND in_caller = in_account) THEN
        RETURN 3;
    ELSIF NOT joins AND in_caller <> in_account AND in_caller <> found_one.owner THEN
        RETURN 4;
    ELSIF joins AND NOT is_in AND found_one.size >= most THEN
        RETURN 5;
    END IF;
    IF joins AND NOT is_in THEN
        PERFORM add_members(in_app, in_conversation, head, moment, found_one.version, ARRAY[in_account]);
    ELSIF NOT joins AND is_in THEN
        UPDATE member SET until = head
        WHERE app = in_app AND account = in_account AND conversation = in_conversation AND until IS NULL;
    END IF;
    IF joins <> is_in THEN
        UPDATE grp SET version = version + 1, size = size + CASE WHEN joins THEN 1 ELSE -1 END
        WHERE conversation = in_conversation;
    END IF;
    INSERT INTO change (request, made_at) VALUES (in_request, moment);
    RETURN 0;
END
$$;

-- A group and its members in the order of joining; at least one row where there is such a group.
CREATE FUNCTION read_group(in_app bytea, in_conversation bigint) RETURNS TABLE (
    name bytea, avatar bytea, introduction bytea, owner bytea, open boolean, created_at bigint, version bigint,
    account bytea, joined_at bigint, since bigint
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT g.name, g.avatar, g.introduction, g.owner, g.open, g.created_at, g.version,
           k.account, k.joined_at, k.since
    FROM conversation c JOIN grp g ON g.conversation = c.id
    LEFT JOIN member k ON k.conversation = c.id AND k.position IS NOT NULL AND k.until IS NULL
    WHERE c.id = in_conversation AND c.app = in_app ORDER BY k.position;
END
$$;
