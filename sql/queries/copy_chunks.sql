COPY ds_sync.stream_chunks (stream_name, generation, seq, ds_offset, bytes) FROM STDIN
