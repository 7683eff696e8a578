-- 013: letters are replayed as syncd would load them.
--
-- 005 and 008 were published twice, the second time as they are here: a database that had them the first time lacks
-- what changed.  From here on both are alike.
--
-- Triggers of a route's table see what they see when syncd writes: of the functions that write its rows none has a
-- search_path of its own.  A column is looked up as in 008.  And whoever replays says which refusals are no fault of
-- the row, as whoever loads does, so that both call the same a letter.

SET LOCAL ROLE ds_sync_owner;

ALTER FUNCTION ds_sync.state_sift_of_008(text, bigint, text, text, bigint, integer, text, regclass, text[], text)
    RESET search_path;

-- As in 005, for what its route's table takes now.
CREATE OR REPLACE FUNCTION ds_sync.event_replay(p_stream_id bigint, p_generation integer, p_seq bigint) RETURNS text
LANGUAGE plpgsql AS $body$
DECLARE
    v_letter   ds_sync.dead_letter;
    v_row_name text;
    v_spec     jsonb;
    v_table    regclass;
    v_bytes    boolean;
    v_message  json;
    v_columns  text[] := '{}';
    v_fields   text[] := '{}';
    v_types    text[];
    v_rows     bigint;
    v_present  boolean;
BEGIN
    SELECT d.* INTO v_letter FROM ds_sync.dead_letter d
    WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq
    FOR UPDATE;
    SELECT r.spec, coalesce(r.spec->>'name_prefix', '') || s.name,
           r.spec->>'as' = 'chunks' INTO v_spec, v_row_name, v_bytes
    FROM ds_sync.stream s
    JOIN (SELECT name, spec FROM ds_sync.route
          UNION ALL
          SELECT 'default', jsonb_build_object('as', kind, 'table', place, 'payload',
                                               jsonb_build_object('column', payload, 'type', payload_type))
          FROM (VALUES ('events', 'ds_sync.session_events', 'payload', 'jsonb'),
                       ('chunks', 'ds_sync.stream_chunks', 'bytes', 'bytea'))
              AS built_in (kind, place, payload, payload_type)
          WHERE (kind = 'events') = (SELECT coalesce(content_type, '') ~* '^\s*application/json\s*(;|$)'
                                     FROM ds_sync.stream WHERE stream_id = p_stream_id)
    ) AS r ON r.name = s.route
    WHERE s.stream_id = p_stream_id AND r.spec->>'as' IN ('events', 'chunks');
    IF NOT FOUND OR v_letter.stream_id IS NULL THEN
        RAISE EXCEPTION 'there is no such dead letter of a route of events or chunks' USING ERRCODE = 'no_data_found';
    END IF;
    v_table := format('%I.%I', split_part(v_spec->>'table', '.', 1), split_part(v_spec->>'table', '.', 2));

    -- What syncd finds in a message, as text; the payload apart.
    IF NOT v_bytes THEN
        v_message := convert_from(v_letter.payload, 'UTF8')::json;
        SELECT coalesce(array_agg(c.name ORDER BY c.number), '{}'), coalesce(array_agg(c.value ORDER BY c.number), '{}')
        INTO v_columns, v_fields
        FROM (
            SELECT w.name, w.value, w.number
            FROM (VALUES ('event_key', v_message->'key', NULL, 1), ('event_type', v_message->'type', NULL, 2),
                         ('operation', v_message->'operation', v_message->'headers'->'operation', 3))
                AS e (name, first, second, number)
            CROSS JOIN LATERAL (VALUES (e.name, CASE 'string' WHEN json_typeof(e.first) THEN e.first #>> '{}'
                                                              WHEN json_typeof(e.second) THEN e.second #>> '{}' END,
                                        e.number)) AS w (name, value, number)
            JOIN pg_attribute a ON a.attrelid = v_table AND a.attname = w.name AND a.attgenerated = ''
                AND NOT a.attisdropped
            WHERE NOT coalesce(v_spec->'columns', '{}') ? w.name
            UNION ALL
            SELECT m.key, ds_sync.json_at(v_message, m.value->>'pointer'), 3 + m.number
            FROM jsonb_each(coalesce(v_spec->'columns', '{}')) WITH ORDINALITY AS m (key, value, number)
        ) AS c;
        IF EXISTS (
            SELECT FROM unnest(v_columns, v_fields) AS c (name, value)
            WHERE c.value IS NULL AND v_spec->'columns'->c.name->>'required' = 'true') THEN
            RAISE EXCEPTION 'a column that is required has no value in the message' USING ERRCODE = 'not_null_violation';
        END IF;
    END IF;

    -- Without their length: a cast to varchar(5) would cut what the column refuses.
    SELECT array_agg(format_type(b.type, -1) ORDER BY c.number) INTO v_types
    FROM unnest(v_columns || (v_spec->'payload'->>'column')) WITH ORDINALITY AS c (name, number)
    JOIN pg_attribute a ON a.attrelid = v_table AND a.attname = c.name
    CROSS JOIN LATERAL (
        WITH RECURSIVE base AS (
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype
            WHERE base.typtype = 'd')
        SELECT oid AS type FROM base WHERE typtype <> 'd') AS b;
    EXECUTE format('INSERT INTO %s (stream_name, generation, seq, ds_offset%s, %I) VALUES ($1, $2, $3, $4%s, %s) '
                   'ON CONFLICT (stream_name, seq) DO NOTHING',
                   v_table,
                   (SELECT string_agg(format(', %I', name), '' ORDER BY n)
                    FROM unnest(v_columns) WITH ORDINALITY AS c (name, n)),
                   v_spec->'payload'->>'column',
                   (SELECT string_agg(format(', $5[%s]::%s', n, type), '' ORDER BY n)
                    FROM unnest(v_types) WITH ORDINALITY AS c (type, n) WHERE n <= cardinality(v_columns)),
                   CASE v_spec->'payload'->>'type' WHEN 'bytea' THEN '$6'
                        ELSE format('convert_from($6, ''UTF8'')::%s', v_types[cardinality(v_types)]) END)
    USING v_row_name, p_generation, p_seq, v_letter.ds_offset, v_fields, v_letter.payload;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = 0 THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE stream_name = $1 AND seq = $2)', v_table)
        INTO v_present USING v_row_name, p_seq;
        IF NOT v_present THEN
            RAISE EXCEPTION 'a trigger or a rule of the table drops the row';
        END IF;
        RETURN 'present';
    END IF;
    DELETE FROM ds_sync.dead_letter d
    WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq;
    INSERT INTO ds_sync.audit (action, target, details)
    VALUES ('replay', v_row_name, json_build_object('generation', p_generation, 'seq', p_seq));
    RETURN 'replayed';
END
$body$;

-- A dead letter of any route.  Besides what event_replay and state_replay answer:
--   failed     the message is refused again; the letter stays, with what is wrong now
--   no_route   its route is not declared (any more); the letter stays
--   gone       somebody else was faster
-- p_no_row_fault: a regular expression of the SQLSTATEs that are no row's fault.
CREATE OR REPLACE FUNCTION ds_sync.letter_replay(p_stream_id bigint, p_generation integer, p_seq bigint,
                                                 p_no_row_fault text,
                                                 OUT result text, OUT code text, OUT message text)
LANGUAGE plpgsql AS $body$
DECLARE
    v_kind text;
BEGIN
    -- As a transaction of syncd begins, so that neither waits for the other for good.
    PERFORM FROM ds_sync.stream_offset o WHERE o.stream_id = p_stream_id FOR UPDATE;
    SELECT CASE WHEN s.route = 'default' THEN 'events' ELSE r.spec->>'as' END INTO v_kind
    FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id) LEFT JOIN ds_sync.route r ON r.name = s.route
    WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq;
    IF NOT FOUND THEN
        result := 'gone';
        RETURN;
    ELSIF v_kind IS NULL THEN
        result := 'no_route';
        RETURN;
    END IF;
    BEGIN
        IF v_kind = 'state' THEN
            result := ds_sync.state_replay(p_stream_id, p_generation, p_seq);
        ELSE
            result := ds_sync.event_replay(p_stream_id, p_generation, p_seq);
        END IF;
    EXCEPTION
        WHEN others OR assert_failure THEN
            IF SQLSTATE ~ p_no_row_fault THEN
                RAISE;
            END IF;
            result := 'failed';
            code := SQLSTATE;
            message := SQLERRM;
            UPDATE ds_sync.dead_letter d SET reason = 'row_fault', sqlstate = code, message = SQLERRM
            WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq;
    END;
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.letter_replay(bigint, integer, bigint, text) FROM PUBLIC;

-- For the dsctl of the first 005: to it data, constraints, what triggers raise and limits are a row's fault.
CREATE OR REPLACE FUNCTION ds_sync.letter_replay(p_stream_id bigint, p_generation integer, p_seq bigint,
                                                 OUT result text, OUT code text, OUT message text)
LANGUAGE sql AS $body$
    SELECT r.result, r.code, r.message
    FROM ds_sync.letter_replay(p_stream_id, p_generation, p_seq, '^(?!22|23|54|P0001)') AS r
$body$;
REVOKE ALL ON FUNCTION ds_sync.letter_replay(bigint, integer, bigint) FROM PUBLIC;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (13, 2, 'replay_as_loaded');
