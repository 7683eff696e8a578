-- What this role may not do and syncd does: all that ds_sync_writer was ever granted, and what
-- loading needs in any case.
WITH needed AS (
    SELECT class.oid, acl.privilege_type AS privilege
    FROM pg_class AS class
    CROSS JOIN aclexplode(class.relacl) AS acl
    JOIN pg_roles AS writer ON writer.oid = acl.grantee AND writer.rolname = 'ds_sync_writer'
    WHERE class.relnamespace = 'ds_sync'::regnamespace
    UNION
    SELECT to_regclass('ds_sync.' || name), privilege
    FROM (VALUES ('session_events', 'INSERT'), ('stream_chunks', 'INSERT'), ('dead_letter', 'INSERT'),
                 ('stream', 'INSERT'), ('stream', 'UPDATE'), ('stream_offset', 'SELECT'),
                 ('stream_offset', 'INSERT'), ('stream_offset', 'UPDATE'), ('electric_pad', 'UPDATE')
         ) AS always (name, privilege)
    WHERE to_regclass('ds_sync.' || name) IS NOT NULL
)
SELECT string_agg(privileges || ' on ' || relation, ', ' ORDER BY relation)
FROM (
    SELECT oid::regclass::text AS relation, string_agg(privilege, ', ' ORDER BY privilege) AS privileges
    FROM needed
    WHERE NOT has_table_privilege(oid, privilege)
    GROUP BY oid
) AS missing
