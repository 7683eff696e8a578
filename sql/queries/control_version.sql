SELECT version FROM ds_sync.control
