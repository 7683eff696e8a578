-- $1 host, $2 instance: the others of that machine.  Who is known there to have ended need not be waited for.
SELECT instance, pid FROM ds_sync.instance WHERE host = $1::text AND instance <> $2::text ORDER BY instance LIMIT 1000
