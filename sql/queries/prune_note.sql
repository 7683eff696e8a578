-- $1 table, $2 before: the note whose rows each batch counts up, in its own transaction.
INSERT INTO ds_sync.audit (action, target, details)
VALUES ('db.prune', $1::text, jsonb_build_object('before', $2::text, 'rows', 0))
RETURNING audit_id
