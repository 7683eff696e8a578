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
    id_map.c
