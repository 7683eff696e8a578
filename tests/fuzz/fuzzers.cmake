# ds_fuzz(module library...), in alphabetical order.
ds_fuzz(http_parse ds_core)
