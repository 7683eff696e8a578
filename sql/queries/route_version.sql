-- What must not have moved when routes are stored.
SELECT version FROM ds_sync.control
