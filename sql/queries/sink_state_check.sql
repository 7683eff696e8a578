-- A template: syncd/sink_sql.h says what stands in braces.
-- Which appends ($5 their seq, $6 what they append) do not fit the value that is there.
WITH b AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::boolean[])
        AS b (stream_name, stream_id, type, key, seq, kind, staged)
)
SELECT b.stream_id, b.seq, b.kind, ds_sync.state_kind(t.{payload})
FROM b JOIN {table} t ON t.stream_name = b.stream_name AND t.type = b.type AND t.key = b.key
WHERE NOT b.staged AND ds_sync.state_kind(t.{payload}) <> b.kind
UNION ALL
SELECT b.stream_id, b.seq, b.kind, ds_sync.state_kind({staged_payload})
FROM b JOIN ds_sync.state_staged s ON s.stream_id = b.stream_id AND s.type = b.type AND s.key = b.key
WHERE b.staged AND ds_sync.state_kind({staged_payload}) <> b.kind
ORDER BY 1, 2
