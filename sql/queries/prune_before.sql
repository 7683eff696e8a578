-- $1: a time, or NULL; $2: else so many milliseconds ago, by the clock of Postgres, which rows have too.
SELECT t.before::text, t.before <= clock_timestamp()
FROM (SELECT coalesce($1::text::timestamptz, clock_timestamp() - make_interval(secs => $2::bigint / 1000.0)) AS before) AS t
