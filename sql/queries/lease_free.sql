-- $1 an instance, or NULL for all.  Forgets it and frees what it holds; one that lives notices, and joins again.
WITH named AS (
    SELECT instance FROM ds_sync.instance WHERE $1::text IS NULL OR instance = $1::text
    UNION
    SELECT owner FROM ds_sync.work_partition WHERE owner IS NOT NULL AND ($1::text IS NULL OR owner = $1::text)
), gone AS (
    DELETE FROM ds_sync.instance i USING named WHERE i.instance = named.instance
), held AS (
    SELECT partition_no, owner FROM ds_sync.work_partition
    WHERE owner IS NOT NULL AND ($1::text IS NULL OR owner = $1::text)
    ORDER BY partition_no FOR UPDATE
), freed AS (
    UPDATE ds_sync.work_partition p SET owner = NULL, lease_until = NULL
    FROM held WHERE p.partition_no = held.partition_no
    RETURNING held.owner
), noted AS (
    INSERT INTO ds_sync.audit (action, target)
    SELECT 'lease.release', instance FROM named
)
SELECT named.instance, (SELECT count(*) FROM freed WHERE freed.owner = named.instance) AS partitions
FROM named
ORDER BY named.instance
