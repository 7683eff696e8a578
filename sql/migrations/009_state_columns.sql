-- 009: the columns of a route may change while a snapshot is open.
--
-- Staged rows had their values in the order of the route, and did not say of which.  A row tells its shape now: what
-- is of another one is read from its message anew, and where that is not possible nothing is written.

SET LOCAL ROLE ds_sync_owner;

--   fields   as in 003; the value is the last in every shape
--   shape    of the columns that fields are of: their names, types and pointers, in short.  NULL: nobody said
--   message  that which set the value, or made the row by an append; NULL of a route without mapped columns
--   grown    others appended to the value since
ALTER TABLE ds_sync.state_staged ADD COLUMN shape bytea, ADD COLUMN grown boolean NOT NULL DEFAULT false;

-- A value as it is staged, and the JSON of one that is staged: bytes are in hexadecimal, as no JSON begins.
CREATE FUNCTION ds_sync.staged_text(value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $1::text';
CREATE FUNCTION ds_sync.staged_text(value json) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $1::text';
CREATE FUNCTION ds_sync.staged_text(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $1';
CREATE FUNCTION ds_sync.staged_text(value bytea) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$SELECT chr(92) || 'x' || encode($1, 'hex')$$;
CREATE FUNCTION ds_sync.staged_json(field text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN ascii($1) = 92 THEN convert_from(decode(substr($1, 3), 'hex'), 'UTF8') ELSE $1 END $$;

-- The fields of a staged row as those of a route whose columns these are, the value last: p_pointers and p_required
-- are of the others, p_value_type is the value's.  Without the message the type, the key, and what is within a value
-- that is as it was set (p_is_whole) are known.  55DS1: a column cannot be told.  It is no fault of the row.
CREATE FUNCTION ds_sync.state_reshape(p_type text, p_key text, p_fields text[], p_message bytea, p_grown boolean,
                                      p_is_whole boolean, p_columns text[], p_pointers text[], p_required boolean[],
                                      p_value_type text)
RETURNS text[] LANGUAGE plpgsql STABLE AS $body$
DECLARE
    v_message json := convert_from(p_message, 'UTF8');
    v_known   json := v_message;
    v_value   text := ds_sync.staged_json(p_fields[cardinality(p_fields)]);
    v_fields  text[] := '{}';
    v_field   text;
BEGIN
    IF v_known IS NULL THEN
        v_known := json_build_object('type', p_type, 'key', p_key, 'value', v_value::json);
    ELSIF NOT p_grown THEN
        v_value := (v_message->'value')::text;
    END IF;
    FOR i IN 1 .. cardinality(p_pointers) LOOP
        IF v_message IS NULL AND p_pointers[i] <> ALL ('{/type,/key}')
            AND NOT (p_is_whole AND NOT p_grown AND (p_pointers[i] || '/') LIKE '/value/%') THEN
            RAISE EXCEPTION 'the route maps other columns than when rows of the open snapshot were staged, and of them '
                'column % cannot be told any more: apply the columns of before, then dsctl sync retry; or read the '
                'stream from its start with dsctl sync reset', p_columns[i]
                USING ERRCODE = '55DS1';
        END IF;
        v_field := ds_sync.json_at(v_known, p_pointers[i]);
        IF v_field IS NULL AND p_required[i] AND coalesce(ds_sync.state_operation(v_message), 'set') = 'set' THEN
            RAISE EXCEPTION 'column % is required, and the message has no value for it', p_columns[i]
                USING ERRCODE = 'not_null_violation';
        END IF;
        v_fields := v_fields || v_field;
    END LOOP;
    RETURN v_fields || CASE p_value_type
        WHEN 'bytea' THEN ds_sync.staged_text(convert_to(v_value, 'UTF8')) ELSE v_value END;
END
$body$;

CREATE OR REPLACE FUNCTION ds_sync.state_replay(p_stream_id bigint, p_generation integer, p_seq bigint) RETURNS text
LANGUAGE plpgsql AS $body$
DECLARE
    v_row_name text;
    v_spec     jsonb;
    v_table    regclass;
    v_message  json;
    v_type     text;
    v_key      text;
    v_op       text;
    v_sets     ds_sync.state_stream;
    v_columns  text[];
    v_types    text[];
    v_fields   text[];
    v_staged   boolean;
    v_value    text;
    v_seq      bigint;
    v_kind     text;
    v_target   text;
    v_place    text;
BEGIN
    PERFORM FROM ds_sync.stream_offset o WHERE o.stream_id = p_stream_id FOR UPDATE;
    SELECT convert_from(d.payload, 'UTF8')::json, coalesce(r.spec->>'name_prefix', '') || s.name, r.spec
    INTO v_message, v_row_name, v_spec
    FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id) JOIN ds_sync.route r ON r.name = s.route
    WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq AND r.spec->>'as' = 'state';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such dead letter of a route of state' USING ERRCODE = 'no_data_found';
    END IF;
    -- As it stands, in upper and lower case.
    v_table := format('%I.%I', split_part(v_spec->>'table', '.', 1), split_part(v_spec->>'table', '.', 2));
    v_op := ds_sync.state_operation(v_message);
    IF v_op IS NULL OR (v_op <> 'delete' AND v_message->'value' IS NULL)
        OR json_typeof(v_message->'type') IS DISTINCT FROM 'string' OR octet_length((v_message->'type')::text) > 256
        OR json_typeof(v_message->'key') IS DISTINCT FROM 'string' OR octet_length((v_message->'key')::text) > 1024 THEN
        RAISE EXCEPTION 'the message is no change of state' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_type := v_message->>'type';
    v_key := v_message->>'key';

    -- What the row has behind seq, in the order of syncd: mapped columns, the value last.
    SELECT coalesce(array_agg(c.key ORDER BY c.number), '{}'),
           coalesce(array_agg(ds_sync.json_at(v_message, c.value->>'pointer') ORDER BY c.number), '{}')
    INTO v_columns, v_fields
    FROM jsonb_each(coalesce(v_spec->'columns', '{}')) WITH ORDINALITY AS c (key, value, number);
    IF v_op = 'set' AND EXISTS (
        SELECT FROM jsonb_each(coalesce(v_spec->'columns', '{}')) WITH ORDINALITY AS c (key, value, number)
        WHERE c.value->>'required' = 'true' AND v_fields[c.number] IS NULL) THEN
        RAISE EXCEPTION 'a column that is required has no value in the message' USING ERRCODE = 'not_null_violation';
    END IF;
    v_columns := v_columns || (v_spec->'payload'->>'column');
    v_fields := v_fields || CASE v_spec->'payload'->>'type'
        WHEN 'bytea' THEN ds_sync.staged_text(convert_to((v_message->'value')::text, 'UTF8'))
        ELSE (v_message->'value')::text END;
    -- Without their length: a cast to varchar(5) would cut what the column refuses.
    SELECT array_agg(format_type(a.atttypid, -1) ORDER BY c.number) INTO v_types
    FROM unnest(v_columns) WITH ORDINALITY AS c (name, number)
    JOIN pg_attribute a ON a.attrelid = v_table AND a.attname = c.name;

    SELECT * INTO v_sets FROM ds_sync.state_stream s WHERE s.stream_id = p_stream_id;
    v_staged := coalesce(p_seq > v_sets.snapshot_seq, false);
    -- Of messages in a snapshot that another one took the place of, nothing is left.
    IF p_generation < v_sets.generation OR p_seq <= v_sets.cleared_seq
        OR (v_sets.opened_seq > v_sets.cleared_seq AND p_seq BETWEEN v_sets.opened_seq AND v_sets.snapshot_seq) OR EXISTS (
        SELECT FROM ds_sync.state_tombstone t
        WHERE t.stream_id = p_stream_id AND t.type = v_type AND t.key = v_key AND t.seq > p_seq) THEN
        RETURN 'overtaken';
    END IF;
    IF v_staged THEN
        v_target := 'ds_sync.state_staged';
        v_place := format('t.stream_id = %s AND t.type = %L AND t.key = %L', p_stream_id, v_type, v_key);
        v_value := 'ds_sync.staged_json(t.fields[cardinality(t.fields)])';
        v_value := CASE v_types[cardinality(v_types)] WHEN 'bytea' THEN format('convert_to(%s, ''UTF8'')', v_value)
            ELSE format('%s::%s', v_value, v_types[cardinality(v_types)]) END;
        EXECUTE format('SELECT t.seq, ds_sync.state_kind(%s) FROM %s t WHERE %s', v_value, v_target, v_place)
        INTO v_seq, v_kind;
    ELSE
        v_target := v_table::text;
        v_place := format('t.stream_name = %L AND t.type = %L AND t.key = %L', v_row_name, v_type, v_key);
        EXECUTE format('SELECT t.seq, ds_sync.state_kind(t.%I) FROM %s t WHERE %s',
                       v_columns[cardinality(v_columns)], v_target, v_place)
        INTO v_seq, v_kind;
    END IF;
    IF v_seq > p_seq THEN
        RETURN 'overtaken';
    END IF;

    IF v_op = 'delete' THEN
        EXECUTE format('DELETE FROM %s t WHERE %s', v_target, v_place);
        INSERT INTO ds_sync.state_tombstone VALUES (p_stream_id, v_type, v_key, p_seq)
        ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq;
    ELSIF v_op = 'append' AND v_seq IS NOT NULL THEN
        IF v_kind <> json_typeof(v_message->'value') OR v_kind NOT IN ('string', 'array') THEN
            RAISE EXCEPTION 'the value that is there is of kind %: this does not fit it', v_kind
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF v_staged THEN
            EXECUTE format('UPDATE %1$s t SET seq = $1, grown = true, fields[cardinality(t.fields)] = '
                           'ds_sync.staged_text(ds_sync.state_append(%5$s, $2[%2$s]::%3$s)) WHERE %4$s',
                           v_target, cardinality(v_columns), v_types[cardinality(v_columns)], v_place, v_value)
            USING p_seq, v_fields;
        ELSE
            EXECUTE format('UPDATE %1$s t SET seq = $1, %2$I = ds_sync.state_append(t.%2$I, $2[%3$s]::%4$s) WHERE %5$s',
                           v_target, v_columns[cardinality(v_columns)], cardinality(v_columns),
                           v_types[cardinality(v_columns)], v_place)
            USING p_seq, v_fields;
        END IF;
    ELSIF v_op = 'append' AND json_typeof(v_message->'value') NOT IN ('string', 'array') THEN
        RAISE EXCEPTION 'only a string or an array can be appended' USING ERRCODE = 'invalid_parameter_value';
    ELSIF v_staged THEN
        INSERT INTO ds_sync.state_staged AS t (stream_id, type, key, seq, fields, ds_offset, message)
        SELECT p_stream_id, v_type, v_key, p_seq, v_fields, d.ds_offset, d.payload FROM ds_sync.dead_letter d
        WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq
        ON CONFLICT (stream_id, type, key) DO UPDATE
            SET seq = excluded.seq, fields = excluded.fields, ds_offset = excluded.ds_offset, message = excluded.message,
                shape = NULL, grown = false;
    ELSE
        EXECUTE format('INSERT INTO %s (stream_name, type, key, seq, %s) VALUES ($1, $2, $3, $4, %s) '
                       'ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq, %s',
                       v_target,
                       (SELECT string_agg(format('%I', name), ', ' ORDER BY n)
                        FROM unnest(v_columns) WITH ORDINALITY AS c (name, n)),
                       (SELECT string_agg(format('$5[%s]::%s', n, type), ', ' ORDER BY n)
                        FROM unnest(v_types) WITH ORDINALITY AS c (type, n)),
                       (SELECT string_agg(format('%I = excluded.%I', name, name), ', ' ORDER BY n)
                        FROM unnest(v_columns) WITH ORDINALITY AS c (name, n)))
        USING v_row_name, v_type, v_key, p_seq, v_fields;
    END IF;
    DELETE FROM ds_sync.dead_letter d
    WHERE d.stream_id = p_stream_id AND d.generation = p_generation AND d.seq = p_seq;
    DELETE FROM ds_sync.state_tombstone t
    WHERE t.stream_id = p_stream_id
      AND NOT EXISTS (SELECT FROM ds_sync.dead_letter d WHERE d.stream_id = p_stream_id);
    INSERT INTO ds_sync.audit (action, target, details)
    VALUES ('replay', v_row_name, json_build_object('generation', p_generation, 'seq', p_seq));
    RETURN 'replayed';
END
$body$;

-- As that of 008, which syncd of before uses: the end of a snapshot of which the table refuses rows.  So many of its
-- staged rows behind (p_after_type, p_after_key) go into the table, each alone, and those that are refused become
-- letters as of their seq; of their keys nothing stays.  p_no_row_fault: a regular expression of the SQLSTATEs that
-- are no row's fault.  Rows that are not of p_shape are brought into it.  Deferred constraints speak up at once, where
-- their row is known.
CREATE FUNCTION ds_sync.state_sift(p_row_name text, p_stream_id bigint, p_after_type text, p_after_key text,
                                   p_rows bigint, p_generation integer, p_stream_name text, p_table regclass,
                                   p_columns text[], p_no_row_fault text, p_shape bytea, p_pointers text[],
                                   p_required boolean[])
RETURNS TABLE (left_alone bigint, changed bigint, looked bigint, last_type text, last_key text, letters bigint)
LANGUAGE plpgsql AS $body$
DECLARE
    r         record;
    v_types   text[];
    v_insert  text;
    v_fields  text[];
    v_rows    bigint;
    v_message text;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    left_alone := 0;
    changed := 0;
    looked := 0;
    letters := 0;
    SELECT array_agg(format_type(a.atttypid, -1) ORDER BY c.number) INTO v_types
    FROM unnest(p_columns) WITH ORDINALITY AS c (name, number)
    JOIN pg_attribute a ON a.attrelid = p_table AND a.attname = c.name;
    v_insert := format('INSERT INTO %s AS t (stream_name, type, key, seq, %s) VALUES ($1, $2, $3, $4, %s) '
                       'ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq, %s '
                       'WHERE t.seq < excluded.seq',
                       p_table,
                       (SELECT string_agg(format('%I', name), ', ' ORDER BY n)
                        FROM unnest(p_columns) WITH ORDINALITY AS c (name, n)),
                       (SELECT string_agg(format('$5[%s]::%s', n, type), ', ' ORDER BY n)
                        FROM unnest(v_types) WITH ORDINALITY AS c (type, n)),
                       (SELECT string_agg(format('%I = excluded.%I', name, name), ', ' ORDER BY n)
                        FROM unnest(p_columns) WITH ORDINALITY AS c (name, n)));
    FOR r IN
        SELECT s.type, s.key, s.seq, s.fields, coalesce(s.ds_offset, '') AS ds_offset, s.message, s.shape, s.grown
        FROM ds_sync.state_staged s
        WHERE s.stream_id = p_stream_id AND (p_after_type IS NULL OR (s.type, s.key) > (p_after_type, p_after_key))
        ORDER BY s.type, s.key LIMIT p_rows
    LOOP
        looked := looked + 1;
        last_type := r.type;
        last_key := r.key;
        BEGIN
            v_fields := CASE WHEN r.shape = p_shape THEN r.fields ELSE
                ds_sync.state_reshape(r.type, r.key, r.fields, r.message, r.grown, r.shape IS NOT NULL, p_columns, p_pointers,
                                      p_required, v_types[cardinality(v_types)]) END;
            EXECUTE v_insert USING p_row_name, r.type, r.key, r.seq, v_fields;
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            changed := changed + v_rows;
            left_alone := left_alone + 1 - v_rows;
        EXCEPTION WHEN others OR assert_failure THEN
            IF SQLSTATE ~ p_no_row_fault THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT;
            letters := letters + 1;
            INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, sqlstate,
                                             message, payload)
            VALUES (p_stream_id, p_stream_name, p_generation, r.seq, r.ds_offset, 'row_fault', SQLSTATE, v_message,
                    coalesce(CASE WHEN NOT r.grown THEN r.message END, convert_to(json_build_object(
                        'type', r.type, 'key', r.key, 'operation', 'set',
                        'value', ds_sync.staged_json(r.fields[cardinality(r.fields)])::json)::text, 'UTF8')));
            EXECUTE format('DELETE FROM %s t WHERE t.stream_name = $1 AND t.type = $2 AND t.key = $3', p_table)
            USING p_row_name, r.type, r.key;
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            changed := changed + v_rows;
        END;
    END LOOP;
    DELETE FROM ds_sync.state_staged s
    WHERE s.stream_id = p_stream_id AND (p_after_type IS NULL OR (s.type, s.key) > (p_after_type, p_after_key))
      AND (s.type, s.key) <= (last_type, last_key);
    RETURN NEXT;
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.state_sift(text, bigint, text, text, bigint, integer, text, regclass, text[], text,
                                     bytea, text[], boolean[])
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ds_sync.state_sift(text, bigint, text, text, bigint, integer, text, regclass, text[], text,
                                     bytea, text[], boolean[])
    TO ds_sync_writer;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (9, 2, 'state_columns');
