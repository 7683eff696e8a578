-- $1 stream_ids.  A row for each, in their order, with NULLs where there is none; nothing is locked.
SELECT o.stream_id, o.epoch, o.generation, o.ds_offset, o.skip, o.next_seq, o.closed
FROM unnest($1::bigint[]) WITH ORDINALITY AS w (stream_id, place)
LEFT JOIN ds_sync.stream_offset o ON o.stream_id = w.stream_id
ORDER BY w.place
