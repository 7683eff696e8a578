COPY ds_sync.session_events (stream_name, generation, seq, ds_offset, event_key, event_type, operation, payload) FROM STDIN
