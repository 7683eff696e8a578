-- Bounds how long a writer that lost its client can hold the rows of stream_offset.
BEGIN; SET LOCAL statement_timeout = '30s'; SET LOCAL idle_in_transaction_session_timeout = '5s'
