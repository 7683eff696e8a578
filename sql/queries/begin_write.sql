-- Bounds how long a writer that lost its client can hold the rows of stream_offset; the writer adds how long the
-- transaction may idle.
BEGIN; SET LOCAL statement_timeout = '30s'
