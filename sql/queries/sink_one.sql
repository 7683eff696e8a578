-- A template: syncd/sink_sql.h says what stands in braces.
-- sink_small.sql for the usual message, alone: one stream and one row, with the same parameters.  No array becomes
-- rows, nothing is sorted and joined, so Postgres parses, plans and executes it in little more than half the time.
WITH wanted AS (
    SELECT ($1::bigint[])[1] AS stream_id, ($2::bigint[])[1] AS epoch, ($3::integer[])[1] AS generation,
           ($4::text[])[1] AS old_offset, ($5::bigint[])[1] AS old_skip, ($6::bigint[])[1] AS first_seq,
           ($7::text[])[1] AS new_offset, ($8::bigint[])[1] AS new_skip, ($9::bigint[])[1] AS steps,
           ($10::boolean[])[1] AS closed
), guard AS (
    UPDATE ds_sync.stream_offset o
    SET ds_offset = w.new_offset, skip = w.new_skip, next_seq = w.first_seq + w.steps,
        closed = o.closed OR w.closed, updated_at = clock_timestamp()
    FROM wanted w
    WHERE o.stream_id = w.stream_id AND o.generation = w.generation
      AND o.epoch = w.epoch
      AND o.ds_offset = w.old_offset AND o.skip = w.old_skip AND o.next_seq = w.first_seq
    RETURNING o.stream_id, o.generation
), written AS (
    INSERT INTO {table} ({columns})
    SELECT r.stream_name, guard.generation, r.seq, r.ds_offset{values}
    FROM guard JOIN (SELECT ($11::bigint[])[1] AS stream_id, ($12::text[])[1] AS stream_name,
                            ($13::bigint[])[1] AS seq, ($14::text[])[1] AS ds_offset{singles}) AS r USING (stream_id)
    RETURNING 1
)
-- A trigger that drops the row must not pass for a commit: the division makes an error of it.
SELECT stream_id, 1 / (SELECT count(*) FROM written) FROM guard
