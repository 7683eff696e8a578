-- A template: syncd/sink_sql.h says what stands in braces.
-- Tries each row of sink_sieve_fill.sql alone, so that any number of bad ones costs one statement.
-- A row of the sink's own primary key is no bad row: somebody wrote it, and it may have been us.
-- Deferred constraints speak up at once, where their row is known.
SET CONSTRAINTS ALL IMMEDIATE;
DO ${tag}$
DECLARE
    r record;
    accepted bigint := 0;
    fault_rows bigint[] := '{}';
    fault_states text[] := '{}';
    fault_texts text[] := '{}';
    fault_text text;
    fault_schema text;
    fault_table text;
    fault_constraint text;
BEGIN
    FOR r IN
        SELECT * FROM unnest(current_setting('ds_sync.sieve_1')::bigint[], current_setting('ds_sync.sieve_2')::text[],
                             current_setting('ds_sync.sieve_3')::bigint[], current_setting('ds_sync.sieve_4')::text[]{stored})
            WITH ORDINALITY AS s (generation, stream_name, seq, ds_offset{fields}, row_number)
    LOOP
        BEGIN
            INSERT INTO {table} ({columns}) VALUES (r.stream_name, r.generation, r.seq, r.ds_offset{values});
            IF FOUND THEN
                accepted := accepted + 1;
            END IF;
        EXCEPTION WHEN others OR assert_failure THEN
            IF SQLSTATE ~ {no_row_fault} THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS fault_text = MESSAGE_TEXT, fault_schema = SCHEMA_NAME,
                fault_table = TABLE_NAME, fault_constraint = CONSTRAINT_NAME;
            IF SQLSTATE = '23505' AND EXISTS (
                SELECT FROM pg_catalog.pg_constraint c
                JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
                JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
                WHERE c.contype = 'p' AND c.conname = fault_constraint AND t.relname = fault_table
                  AND n.nspname = fault_schema
                  AND (t.oid = {table_literal}::regclass
                       OR t.oid IN (SELECT p.relid FROM pg_partition_tree({table_literal}::regclass) p)))
            THEN
                RAISE;
            END IF;
            fault_rows := fault_rows || r.row_number;
            fault_states := fault_states || SQLSTATE::text;
            fault_texts := fault_texts || fault_text;
        END;
    END LOOP;
    PERFORM set_config('ds_sync.sieve_accepted', accepted::text, true),
            set_config('ds_sync.sieve_rows', fault_rows::text, true),
            set_config('ds_sync.sieve_states', fault_states::text, true),
            set_config('ds_sync.sieve_texts', fault_texts::text, true);
END
${tag}$;
SELECT current_setting('ds_sync.sieve_accepted'), f.row_number, f.sqlstate, f.message
FROM (SELECT) one
LEFT JOIN unnest(current_setting('ds_sync.sieve_rows')::bigint[], current_setting('ds_sync.sieve_states')::text[],
                 current_setting('ds_sync.sieve_texts')::text[]) AS f (row_number, sqlstate, message) ON true
ORDER BY f.row_number
