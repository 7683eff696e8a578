-- A template: syncd/sink_sql.h says what stands in braces.
-- What sink_state_apply.sql does where all changes set: $1 how the streams are called in the table, $2 types, $3 seqs,
-- $4 keys.  Of the first three a single element stands for all rows, seqs rising by one from it.  A row that has a
-- newer seq is left alone, and missing in the number of rows that the command tells.
INSERT INTO {table} AS t (stream_name, type, key, seq{state_columns})
SELECT coalesce(r.stream_name, ($1::text[])[1]), coalesce(r.type, ($2::text[])[1]), r.key,
       coalesce(r.seq, ($3::bigint[])[1] + r.row_number - 1){values}
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]{put_params})
     WITH ORDINALITY AS r (stream_name, type, seq, key{fields}, row_number)
ON CONFLICT (stream_name, type, key) DO UPDATE SET seq = excluded.seq{state_assigned}
    WHERE t.seq < excluded.seq
