-- The writer adds how long a statement may take and how long the transaction may idle: they bound how long a
-- writer that lost its client can hold the rows of stream_offset.
BEGIN
