-- A template: syncd/sink_sql.h says what stands in braces.
-- Carries out each change of sink_sieve_fill.sql alone, in their order, so that any number of bad ones costs one
-- statement.  The settings are the parameters of sink_state_apply.sql, or of sink_state_stage.sql: those have
-- offsets.  Deferred constraints speak up at once, where their row is known.
SET CONSTRAINTS ALL IMMEDIATE;
DO ${tag}$
DECLARE
    r record;
    is_staged boolean := cardinality(current_setting('ds_sync.sieve_8')::text[]) > 0;
    is_there boolean;
    kind_there text;
    kind_more text;
    row_count bigint;
    left_alone bigint := 0;
    changed bigint := 0;
    fault_rows bigint[] := '{}';
    fault_states text[] := '{}';
    fault_texts text[] := '{}';
    fault_text text;
BEGIN
    IF is_staged THEN
        DELETE FROM ds_sync.state_staged s WHERE s.stream_id = ANY (current_setting('ds_sync.sieve_7')::bigint[]);
    ELSE
        DELETE FROM {table} t WHERE t.stream_name = ANY (current_setting('ds_sync.sieve_7')::text[]);
        GET DIAGNOSTICS changed = ROW_COUNT;
    END IF;
    FOR r IN
        SELECT * FROM unnest(current_setting('ds_sync.sieve_1')::text[], current_setting('ds_sync.sieve_2')::bigint[],
                             current_setting('ds_sync.sieve_3')::text[], current_setting('ds_sync.sieve_4')::text[],
                             current_setting('ds_sync.sieve_5')::bigint[], current_setting('ds_sync.sieve_6')::text[],
                             current_setting('ds_sync.sieve_8')::text[], current_setting('ds_sync.sieve_9')::bytea[],
                             current_setting('ds_sync.sieve_10')::boolean[]{stored})
            WITH ORDINALITY AS s (stream_name, stream_id, type, key, seq, op, ds_offset, message, grown{fields}, row_number)
    LOOP
        BEGIN
            is_there := false;
            IF r.op = 'a' THEN
                IF is_staged THEN
                    SELECT ds_sync.state_kind({staged_payload}) INTO kind_there FROM ds_sync.state_staged s
                    WHERE s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key;
                ELSE
                    SELECT ds_sync.state_kind(t.{payload}) INTO kind_there FROM {table} t
                    WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key;
                END IF;
                is_there := FOUND;
                kind_more := ds_sync.state_kind({payload_value});
                IF is_there AND kind_there <> kind_more THEN
                    RAISE EXCEPTION 'the value that is there is of kind %: no % fits it', kind_there, kind_more
                        USING ERRCODE = '22023';
                END IF;
            END IF;
            IF r.op IN ('d', 'b') THEN
                IF is_staged THEN
                    DELETE FROM ds_sync.state_staged s
                    WHERE s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key;
                    row_count := 0;
                ELSE
                    DELETE FROM {table} t
                    WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key AND t.seq < r.seq;
                    GET DIAGNOSTICS row_count = ROW_COUNT;
                    left_alone := left_alone + (
                        SELECT count(*) FROM {table} t
                        WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key AND t.seq >= r.seq);
                END IF;
                INSERT INTO ds_sync.state_tombstone (stream_id, type, key, seq)
                SELECT r.stream_id, r.type, r.key, r.seq
                WHERE r.op = 'b' OR cardinality(fault_rows) > 0
                   OR EXISTS (SELECT FROM ds_sync.dead_letter d WHERE d.stream_id = r.stream_id)
                ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq;
                changed := changed + row_count;
                CONTINUE;
            END IF;
            IF is_there AND is_staged THEN
                UPDATE ds_sync.state_staged s
                SET seq = r.seq, ds_offset = r.ds_offset, grown = true,
                    fields[cardinality(s.fields)] =
                        ds_sync.staged_text(ds_sync.state_append({staged_payload}, {payload_value}))
                WHERE s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key AND s.seq < r.seq;
            ELSIF is_there THEN
                UPDATE {table} t
                SET seq = r.seq, {payload} = ds_sync.state_append(t.{payload}, {payload_value})
                WHERE t.stream_name = r.stream_name AND t.type = r.type AND t.key = r.key AND t.seq < r.seq;
            ELSIF is_staged THEN
                INSERT INTO ds_sync.state_staged AS s (stream_id, type, key, seq, fields, ds_offset, message, grown, shape)
                VALUES (r.stream_id, r.type, r.key, r.seq, ARRAY[{staged_fields}], r.ds_offset, r.message, r.grown,
                        {shape})
                ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq, fields = excluded.fields,
                    ds_offset = excluded.ds_offset, message = excluded.message, grown = excluded.grown,
                    shape = excluded.shape
                    WHERE s.seq < excluded.seq;
            ELSE
                INSERT INTO {table} AS t (stream_name, type, key, seq{state_columns})
                VALUES (r.stream_name, r.type, r.key, r.seq{values})
                ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq{state_assigned}
                    WHERE t.seq < excluded.seq;
            END IF;
            GET DIAGNOSTICS row_count = ROW_COUNT;
            left_alone := left_alone + 1 - row_count;
            changed := changed + CASE WHEN is_staged THEN 0 ELSE row_count END;
        EXCEPTION WHEN others OR assert_failure THEN
            IF SQLSTATE ~ {no_row_fault} THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS fault_text = MESSAGE_TEXT;
            fault_rows := fault_rows || r.row_number;
            fault_states := fault_states || SQLSTATE::text;
            fault_texts := fault_texts || fault_text;
        END;
    END LOOP;
    PERFORM set_config('ds_sync.sieve_left_alone', left_alone::text, true),
            set_config('ds_sync.sieve_changed', changed::text, true),
            set_config('ds_sync.sieve_rows', fault_rows::text, true),
            set_config('ds_sync.sieve_states', fault_states::text, true),
            set_config('ds_sync.sieve_texts', fault_texts::text, true);
END
${tag}$;
SELECT current_setting('ds_sync.sieve_left_alone'), current_setting('ds_sync.sieve_changed'), f.row_number, f.sqlstate,
       f.message
FROM (SELECT) one
LEFT JOIN unnest(current_setting('ds_sync.sieve_rows')::bigint[], current_setting('ds_sync.sieve_states')::text[],
                 current_setting('ds_sync.sieve_texts')::text[]) AS f (row_number, sqlstate, message) ON true
ORDER BY f.row_number
