-- $1, $2: versions of ds_sync.control; the streams that were asked to begin again behind the first, up to the second.
SELECT source, name, route FROM ds_sync.stream
WHERE asked_version > $1::bigint AND asked_version <= $2::bigint
ORDER BY stream_id
