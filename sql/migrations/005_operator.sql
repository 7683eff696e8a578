-- 005: what operators ask of running instances, and what instances know.

SET LOCAL ROLE ds_sync_owner;

-- A stream that was asked to begin again from the position that is stored: the version of ds_sync.control that
-- asking made.  Its update orders those who ask, so an instance that has seen a version has seen all before it.
ALTER TABLE ds_sync.stream ADD COLUMN asked_version bigint;
CREATE INDEX stream_asked ON ds_sync.stream (asked_version) WHERE asked_version IS NOT NULL;

-- The names of the stream servers that an instance has; NULL: of a version that did not say.
ALTER TABLE ds_sync.instance ADD COLUMN servers text[];

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (5, 2, 'operator');
