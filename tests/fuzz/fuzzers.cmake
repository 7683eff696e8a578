# ds_fuzz(module library...), in alphabetical order.
ds_fuzz(base64 ds_core)
ds_fuzz(chunk_log ds_server)
ds_fuzz(cursor ds_server)
ds_fuzz(data_file ds_server)
ds_fuzz(http_chunks ds_core)
ds_fuzz(http_parse ds_core)
ds_fuzz(json_scan ds_core PkgConfig::JANSSON) # the oracle
ds_fuzz(name ds_server)
ds_fuzz(offset ds_core)
ds_fuzz(payload ds_server)
ds_fuzz(query ds_server)
ds_fuzz(sse ds_core)
ds_fuzz(wal ds_server)
