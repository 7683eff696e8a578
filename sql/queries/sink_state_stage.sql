-- A template: syncd/sink_sql.h says what stands in braces.
-- Changes of the staged sets.  $6 is what to do: s set, a append, d delete, b delete and leave a
-- tombstone.  $7 are streams whose staged set begins anew, $8 offsets, $9 the message that sets the value, or else the
-- first that appends, where the row alone does not tell it, $10 whether others made the value, too.  The casts find
-- what the table could not hold now, and not when the snapshot ends.  An append leaves a row in the shape that it has.
WITH r AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                         $8::text[], $9::bytea[], $10::boolean[]{state_params})
        AS r (stream_name, stream_id, type, key, seq, op, ds_offset, message, grown{fields})
), dropped AS (
    DELETE FROM ds_sync.state_staged s
    WHERE s.stream_id = ANY ($7::bigint[])
      AND NOT EXISTS (SELECT FROM r WHERE r.stream_id = s.stream_id AND r.type = s.type AND r.key = s.key
                                      AND r.op = 's')
), gone AS (
    DELETE FROM ds_sync.state_staged s USING r
    WHERE r.op IN ('d', 'b') AND s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key
), buried AS (
    INSERT INTO ds_sync.state_tombstone (stream_id, type, key, seq)
    SELECT r.stream_id, r.type, r.key, r.seq FROM r
    WHERE r.op = 'b' OR (r.op = 'd' AND EXISTS (SELECT FROM ds_sync.dead_letter d WHERE d.stream_id = r.stream_id))
    ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq
), appended AS (
    UPDATE ds_sync.state_staged s
    SET seq = r.seq, ds_offset = r.ds_offset, grown = true,
        fields[cardinality(s.fields)] = ds_sync.staged_text(ds_sync.state_append({staged_payload}, {payload_value}))
    FROM r
    WHERE r.op = 'a' AND s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key AND s.seq < r.seq
    RETURNING 1
), put AS (
    INSERT INTO ds_sync.state_staged AS s (stream_id, type, key, seq, fields, ds_offset, message, grown, shape)
    SELECT r.stream_id, r.type, r.key, r.seq, ARRAY[{staged_fields}], r.ds_offset, r.message, r.grown, {shape} FROM r
    WHERE r.op = 's' OR (r.op = 'a' AND NOT EXISTS (
        SELECT FROM ds_sync.state_staged s WHERE s.stream_id = r.stream_id AND s.type = r.type AND s.key = r.key))
    ON CONFLICT (stream_id, type, key) DO UPDATE SET seq = excluded.seq, fields = excluded.fields,
        ds_offset = excluded.ds_offset, message = excluded.message, grown = excluded.grown, shape = excluded.shape
        WHERE s.seq < excluded.seq
    RETURNING 1
)
SELECT (SELECT count(*) FROM r WHERE r.op IN ('s', 'a'))
       - (SELECT count(*) FROM put) - (SELECT count(*) FROM appended), 0
