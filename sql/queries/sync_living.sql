-- How many instances of syncd have been seen lately.
SELECT count(*) FROM ds_sync.instance
WHERE seen_at > clock_timestamp() - interval '5 minutes' AND seen_at < clock_timestamp() + interval '10 minutes'
