-- 003: streams of state.
--
-- The rows of a state route lie in its own table; here is what is known of each such stream besides,
-- and the rows of snapshots that are not complete.  Written in the transaction that moves the offset.

SET LOCAL ROLE ds_sync_owner;

--   generation    of the stream that the rows are of; at the first message of another one they go
--   snapshot_seq  of the snapshot-start that is open: changes go to ds_sync.state_staged; else NULL
--   cleared_seq   the newest message that emptied the table (a reset, or the start of the snapshot that
--                 is in it): an older change that is replayed comes too late
CREATE TABLE ds_sync.state_stream (
    stream_id    bigint PRIMARY KEY REFERENCES ds_sync.stream ON DELETE CASCADE,
    generation   integer NOT NULL,
    snapshot_seq bigint,
    cleared_seq  bigint NOT NULL DEFAULT -1
) WITH (fillfactor = 50);

-- The rows of open snapshots.  Nobody reads them but syncd, which moves them into the table of the route
-- when the snapshot ends, in one transaction.
--   fields  what the route writes behind seq, as text: mapped columns, the value last
CREATE TABLE ds_sync.state_staged (
    stream_id bigint NOT NULL REFERENCES ds_sync.stream ON DELETE CASCADE,
    type      text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    fields    text[] NOT NULL,
    PRIMARY KEY (stream_id, type, key)
);

-- Deletions, while there are dead letters of the stream: without them an older change that is replayed
-- would bring a row back.
CREATE TABLE ds_sync.state_tombstone (
    stream_id bigint NOT NULL REFERENCES ds_sync.stream ON DELETE CASCADE,
    type      text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    PRIMARY KEY (stream_id, type, key)
);

-- What a value is, of each type that a route may store it in: only a string takes a string, and only an
-- array an array.
CREATE FUNCTION ds_sync.state_kind(value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT jsonb_typeof($1)';
CREATE FUNCTION ds_sync.state_kind(value json) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT json_typeof($1)';
CREATE FUNCTION ds_sync.state_kind(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT json_typeof($1::json)';
CREATE FUNCTION ds_sync.state_kind(value bytea) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$SELECT json_typeof(convert_from($1, 'UTF8')::json)$$;

-- Two strings, or two arrays, one behind the other.  As text they are joined as they lie: what a producer
-- wrote stays what it was.
CREATE FUNCTION ds_sync.state_append(value text, more text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN left($1, 1) = '"' THEN left($1, -1) || substr($2, 2)
        WHEN json_array_length($1::json) = 0 THEN $2
        WHEN json_array_length($2::json) = 0 THEN $1
        ELSE left($1, -1) || ',' || substr($2, 2)
    END $$;
CREATE FUNCTION ds_sync.state_append(value jsonb, more jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof($1)
        WHEN 'string' THEN to_jsonb(($1 #>> '{}') || ($2 #>> '{}'))
        ELSE $1 || $2
    END $$;
CREATE FUNCTION ds_sync.state_append(value json, more json) RETURNS json
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ds_sync.state_append($1::text, $2::text)::json $$;
CREATE FUNCTION ds_sync.state_append(value bytea, more bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT convert_to(ds_sync.state_append(convert_from($1, 'UTF8'), convert_from($2, 'UTF8')), 'UTF8') $$;

-- A dead letter of a stream of state, mended meanwhile (the table takes it now): carried out as of its seq,
-- in the order of messages, so nothing newer is overwritten or brought back.  Locks the stream like a
-- transaction of syncd does.
--   replayed   it is done, and the letter is gone
--   overtaken  newer messages decide about its key; the letter stays, to be dropped by whoever is told
CREATE FUNCTION ds_sync.state_replay(p_stream_id bigint, p_generation integer, p_seq bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
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
    v_type := v_message->>'type';
    v_key := v_message->>'key';
    v_op := coalesce(v_message->>'operation', v_message->'headers'->>'operation');
    IF v_type IS NULL OR v_key IS NULL OR v_op IS NULL
        OR v_op NOT IN ('insert', 'update', 'upsert', 'set', 'delete', 'remove', 'append')
        OR (v_op NOT IN ('delete', 'remove') AND v_message->'value' IS NULL) THEN
        RAISE EXCEPTION 'the message is no change of state' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- What the row has behind seq, in the order of syncd: mapped columns, the value last.
    SELECT coalesce(array_agg(c.key ORDER BY c.number), '{}'),
           coalesce(array_agg(v_message #>> (
               SELECT array_agg(replace(replace(part, '~1', '/'), '~0', '~') ORDER BY at)
               FROM regexp_split_to_table(substr(c.value->>'pointer', 2), '/') WITH ORDINALITY AS p (part, at))
               ORDER BY c.number), '{}')
    INTO v_columns, v_fields
    FROM jsonb_each(coalesce(v_spec->'columns', '{}')) WITH ORDINALITY AS c (key, value, number);
    IF v_op NOT IN ('delete', 'remove', 'append') AND EXISTS (
        SELECT FROM jsonb_each(coalesce(v_spec->'columns', '{}')) WITH ORDINALITY AS c (key, value, number)
        WHERE c.value->>'required' = 'true' AND v_fields[c.number] IS NULL) THEN
        RAISE EXCEPTION 'a column that is required has no value in the message' USING ERRCODE = 'not_null_violation';
    END IF;
    v_columns := v_columns || (v_spec->'payload'->>'column');
    v_fields := v_fields || CASE v_spec->'payload'->>'type'
        WHEN 'bytea' THEN convert_to((v_message->'value')::text, 'UTF8')::text ELSE (v_message->'value')::text END;
    -- Without their length: a cast to varchar(5) would cut what the column refuses.
    SELECT array_agg(format_type(a.atttypid, -1) ORDER BY c.number) INTO v_types
    FROM unnest(v_columns) WITH ORDINALITY AS c (name, number)
    JOIN pg_attribute a ON a.attrelid = v_table AND a.attname = c.name;

    SELECT * INTO v_sets FROM ds_sync.state_stream s WHERE s.stream_id = p_stream_id;
    v_staged := coalesce(p_seq > v_sets.snapshot_seq, false);
    IF p_generation < v_sets.generation OR p_seq <= v_sets.cleared_seq OR EXISTS (
        SELECT FROM ds_sync.state_tombstone t
        WHERE t.stream_id = p_stream_id AND t.type = v_type AND t.key = v_key AND t.seq > p_seq) THEN
        RETURN 'overtaken';
    END IF;
    IF v_staged THEN
        v_target := 'ds_sync.state_staged';
        v_place := format('t.stream_id = %s AND t.type = %L AND t.key = %L', p_stream_id, v_type, v_key);
        EXECUTE format('SELECT t.seq, ds_sync.state_kind(t.fields[%s]::%s) FROM %s t WHERE %s',
                       cardinality(v_columns), v_types[cardinality(v_columns)], v_target, v_place)
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

    IF v_op IN ('delete', 'remove') THEN
        EXECUTE format('DELETE FROM %s t WHERE %s', v_target, v_place);
        INSERT INTO ds_sync.state_tombstone VALUES (p_stream_id, v_type, v_key, p_seq)
        ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq;
    ELSIF v_op = 'append' AND v_seq IS NOT NULL THEN
        IF v_kind <> json_typeof(v_message->'value') OR v_kind NOT IN ('string', 'array') THEN
            RAISE EXCEPTION 'the value that is there is of kind %: this does not fit it', v_kind
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF v_staged THEN
            EXECUTE format('UPDATE %1$s t SET seq = $1, fields[%2$s] = ds_sync.state_append(t.fields[%2$s]::%3$s, '
                           '$2[%2$s]::%3$s)::text WHERE %4$s',
                           v_target, cardinality(v_columns), v_types[cardinality(v_columns)], v_place)
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
        INSERT INTO ds_sync.state_staged VALUES (p_stream_id, v_type, v_key, p_seq, v_fields)
        ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq, fields = excluded.fields;
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
REVOKE ALL ON FUNCTION ds_sync.state_replay(bigint, integer, bigint) FROM PUBLIC;

GRANT SELECT, INSERT, UPDATE ON ds_sync.state_stream TO ds_sync_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ds_sync.state_staged, ds_sync.state_tombstone TO ds_sync_writer;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (3, 2, 'state');
