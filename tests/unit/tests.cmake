# ds_unit_test(module library...), in alphabetical order.
