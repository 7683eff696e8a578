-- A template: syncd/sink_sql.h says what stands in braces.
-- As sink_state_move.sql, where the table refuses some of the rows: each is tried alone.  $6 generation, $7 the
-- stream's own name.  The answer has one column more: rows that became dead letters.
SELECT left_alone, changed, looked, last_type, last_key, letters
FROM ds_sync.state_sift($1::text, $2::bigint, $3::text, $4::text, $5::bigint, $6::integer, $7::text,
                        {table_literal}::regclass, ARRAY[{column_literals}], {no_row_fault}, {shape},
                        ARRAY[{pointer_literals}]::text[], ARRAY[{required}]::boolean[])
