UPDATE ds_sync.electric_pad SET counter = counter + 1
