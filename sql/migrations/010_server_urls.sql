-- 010: where servers are.
--
-- The name of a server is what streams are known by; operators give its URL.  What they do to a stream must
-- not be looked up on another server.

SET LOCAL ROLE ds_sync_owner;

-- The origins of ds_sync.instance.servers, in their order; NULL: of a version that did not say.
ALTER TABLE ds_sync.instance ADD COLUMN server_urls text[];

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (10, 2, 'server_urls');
