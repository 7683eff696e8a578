# ds_fuzz(module library...), in alphabetical order.
