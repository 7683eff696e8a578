-- What cannot be loaded, in the transaction that moves the offset past it.
INSERT INTO ds_sync.dead_letter
    (stream_id, stream_name, generation, seq, ds_offset, reason, sqlstate, message, payload)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bytea[])
