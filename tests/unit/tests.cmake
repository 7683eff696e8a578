# ds_unit_test(module library...), in alphabetical order.
ds_unit_test(base64 ds_core)
ds_unit_test(http_parse ds_core)
ds_unit_test(json_scan ds_core)
ds_unit_test(json_string ds_core)
ds_unit_test(loop ds_net)
ds_unit_test(parse ds_core)
ds_unit_test(sse ds_core)
