# ds_server: the Durable Streams protocol, on top of ds_http.
add_library(ds_server STATIC
    admin.c
    admin_changes.c
    app.c
    chunk_log.c
    cold_read.c
    cursor.c
    etag.c
    expiry.c
    journal.c
    live.c
    live_loop.c
    manifest.c
    name.c
    op.c
    op_append.c
    op_close.c
    op_create.c
    op_delete.c
    op_head.c
    op_home.c
    op_read.c
    payload.c
    producer.c
    query.c
    range.c
    read_later.c
    read_reply.c
    registry.c
    route.c
    sse_frame.c
    store.c
    store_memory.c
    stream.c
    wake.c)
target_link_libraries(ds_server PUBLIC ds_http)
