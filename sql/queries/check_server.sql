SELECT current_setting('server_version'), current_database(), current_user,
       pg_encoding_to_char(encoding), current_setting('wal_level'),
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean
FROM pg_database
WHERE datname = current_database()
