-- 012: letters that programs of before 009 make of rows that grew.
--
-- They take the message of a staged row for all of it, and emptied it where others were appended; since 009 it
-- stays there.  Beside a new program, or going back to them, a letter would lack what was appended.

SET LOCAL ROLE ds_sync_owner;

ALTER FUNCTION ds_sync.state_sift(text, bigint, text, text, bigint, integer, text, regclass, text[], text)
    RENAME TO state_sift_of_008;

-- Only for programs of before 009.
CREATE FUNCTION ds_sync.state_sift(p_row_name text, p_stream_id bigint, p_after_type text, p_after_key text,
                                   p_rows bigint, p_generation integer, p_stream_name text, p_table regclass,
                                   p_columns text[], p_no_row_fault text)
RETURNS TABLE (left_alone bigint, changed bigint, looked bigint, last_type text, last_key text, letters bigint)
LANGUAGE plpgsql AS $body$
BEGIN
    UPDATE ds_sync.state_staged s SET message = NULL
    WHERE s.stream_id = p_stream_id AND s.grown AND s.message IS NOT NULL;
    RETURN QUERY SELECT * FROM ds_sync.state_sift_of_008(p_row_name, p_stream_id, p_after_type, p_after_key, p_rows,
                                                         p_generation, p_stream_name, p_table, p_columns,
                                                         p_no_row_fault);
END
$body$;
REVOKE ALL ON FUNCTION ds_sync.state_sift(text, bigint, text, text, bigint, integer, text, regclass, text[], text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ds_sync.state_sift(text, bigint, text, text, bigint, integer, text, regclass, text[], text)
    TO ds_sync_writer;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (12, 2, 'grown_letters');
