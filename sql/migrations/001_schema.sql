-- 001: the schema of ds-sync.
--
-- Runs in one transaction, by somebody who may create roles and schemas (the first time) or is a
-- member of ds_sync_owner (afterwards).  Three roles, none of which can log in by itself:
--   ds_sync_owner   owns everything here, and migrates
--   ds_sync_writer  what syncd needs and no more: it cannot delete, truncate or alter
--   ds_sync_reader  what Electric and people need: reads the tables that are published
-- Grant them to the login roles of the deployment.

DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['ds_sync_owner', 'ds_sync_writer', 'ds_sync_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, 'ds_sync_owner', 'MEMBER') THEN
        EXECUTE format('GRANT ds_sync_owner TO %I', current_user);
    END IF;
    -- The owner creates the publication, which needs CREATE on the database.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO ds_sync_owner', current_database());
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database is encoded in %, and ds-sync needs UTF8',
            current_setting('server_encoding')
            USING HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$roles$;

CREATE SCHEMA ds_sync AUTHORIZATION ds_sync_owner;
SET LOCAL ROLE ds_sync_owner;

-- A binary refuses to run when its own schema number is below min_compatible of the newest row, or
-- above the newest version.
CREATE TABLE ds_sync.schema_version (
    version        integer PRIMARY KEY,
    min_compatible integer NOT NULL,
    name           text NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by     text NOT NULL DEFAULT session_user,
    CHECK (min_compatible <= version)
);

-- One row per stream that syncd has ever seen: what it is and how it fares.  Cold.
CREATE TABLE ds_sync.stream (
    stream_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source           text COLLATE "C" NOT NULL,     -- name of the server, "default" unless configured
    name             text COLLATE "C" NOT NULL,
    content_type     text,                          -- as the server said it; NULL until first seen
    state            text NOT NULL DEFAULT 'new'
        CHECK (state IN ('new', 'waiting', 'running', 'backoff', 'closed', 'stopped', 'failed', 'fenced')),
    reason           text,                          -- why it is stopped or failed, for people
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    state_changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (source, name),
    CHECK (octet_length(name) BETWEEN 1 AND 1024)
);

-- The position of each stream: narrow and hot.  Every transaction that writes rows of a stream first
-- updates its row here, guarded by epoch, ds_offset and skip; nothing indexed ever changes, so the
-- updates stay on their page (HOT).
--   ds_offset  resume point that the server minted; '-1' is the start
--   skip       messages (JSON) or bytes (others) behind ds_offset that are committed already
--   next_seq   the number of the next message (JSON) or byte (others), over all generations
--   epoch      whoever loaded the row last; an older epoch cannot commit
CREATE TABLE ds_sync.stream_offset (
    stream_id  bigint PRIMARY KEY REFERENCES ds_sync.stream,
    epoch      bigint NOT NULL DEFAULT 0,
    generation integer NOT NULL DEFAULT 1,
    ds_offset  text COLLATE "C" NOT NULL DEFAULT '-1',
    skip       bigint NOT NULL DEFAULT 0,
    next_seq   bigint NOT NULL DEFAULT 0,
    closed     boolean NOT NULL DEFAULT false,
    owner      text,                                -- instance that holds the epoch
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (epoch >= 0 AND generation >= 1 AND skip >= 0 AND next_seq >= 0),
    CHECK (octet_length(ds_offset) BETWEEN 1 AND 255)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The default sink of JSON streams: one row per message, insert-only.
--   ds_offset  resume point from which the message can be read again (with those that share it)
CREATE TABLE ds_sync.session_events (
    stream_name text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    seq         bigint NOT NULL,
    ds_offset   text COLLATE "C" NOT NULL,
    event_key   text,
    event_type  text,
    operation   text,
    payload     jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_name, seq)
) PARTITION BY HASH (stream_name);
ALTER TABLE ds_sync.session_events REPLICA IDENTITY FULL;

-- REPLICA IDENTITY does not cascade: a leaf without it makes Electric drop its slot and every shape at
-- the first UPDATE, so each leaf gets it before it is attached.
DO $leaves$
DECLARE
    leaf text;
BEGIN
    FOR remainder IN 0..15 LOOP
        leaf := format('session_events_p%s', lpad(remainder::text, 2, '0'));
        EXECUTE format('CREATE TABLE ds_sync.%I (LIKE ds_sync.session_events INCLUDING ALL)', leaf);
        EXECUTE format('ALTER TABLE ds_sync.%I REPLICA IDENTITY FULL', leaf);
        EXECUTE format('ALTER TABLE ds_sync.session_events ATTACH PARTITION ds_sync.%I '
                       'FOR VALUES WITH (MODULUS 16, REMAINDER %s)', leaf, remainder);
    END LOOP;
END
$leaves$;

-- The sink of byte and text streams: chunks cut by position.  seq is the number of the first byte, so
-- the chunks of a stream in order of seq, concatenated, are its bytes.
CREATE TABLE ds_sync.stream_chunks (
    stream_name text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    seq         bigint NOT NULL,
    ds_offset   text COLLATE "C" NOT NULL,
    bytes       bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_name, seq),
    CHECK (octet_length(bytes) > 0)
);
ALTER TABLE ds_sync.stream_chunks REPLICA IDENTITY FULL;

-- What could not be loaded, with its bytes, written in the transaction that moved the offset past it.
CREATE TABLE ds_sync.dead_letter (
    stream_id   bigint NOT NULL REFERENCES ds_sync.stream,
    stream_name text COLLATE "C" NOT NULL,
    generation  integer NOT NULL,
    seq         bigint NOT NULL,
    ds_offset   text COLLATE "C" NOT NULL,
    reason      text NOT NULL,                      -- stable word: nul, lone_surrogate, depth, size, row_fault, ...
    sqlstate    text,
    message     text NOT NULL,                      -- for people
    payload     bytea NOT NULL,                     -- the message as it came
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_id, generation, seq)
);
CREATE INDEX dead_letter_created_at ON ds_sync.dead_letter (created_at);

-- Which streams go to which table, and how.
CREATE TABLE ds_sync.route (
    route_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE,
    spec       jsonb NOT NULL,                      -- as declared; checked before it is stored
    version    bigint NOT NULL DEFAULT 1,
    paused     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Partition count and hash are one row: an instance with other numbers refuses to start.
CREATE TABLE ds_sync.work_partitioning (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    partition_count integer NOT NULL CHECK (partition_count BETWEEN 1 AND 4096),
    hash            text NOT NULL
);
INSERT INTO ds_sync.work_partitioning (partition_count, hash) VALUES (64, 'fnv1a-64');

-- A lease per work partition; times are the database's own clock (clock_timestamp()).
CREATE TABLE ds_sync.work_partition (
    partition_no integer PRIMARY KEY CHECK (partition_no >= 0),
    owner        text,
    epoch        bigint NOT NULL DEFAULT 0,
    lease_until  timestamptz
) WITH (fillfactor = 50);
INSERT INTO ds_sync.work_partition (partition_no) SELECT generate_series(0, 63);

CREATE TABLE ds_sync.instance (
    instance   text COLLATE "C" PRIMARY KEY,
    version    text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The way back: position and intent of each bridge from Postgres into a stream.
CREATE TABLE ds_sync.bridge (
    bridge_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE,
    spec       jsonb NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    epoch      bigint NOT NULL DEFAULT 0,
    position   jsonb,
    intent     jsonb,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Electric 1.4.2 loses a transaction whose published row changes are a multiple of 100; one update of
-- this row makes the number another one.
CREATE TABLE ds_sync.electric_pad (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counter  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
ALTER TABLE ds_sync.electric_pad REPLICA IDENTITY FULL;
INSERT INTO ds_sync.electric_pad DEFAULT VALUES;

-- What an operator changed by hand: offsets moved, letters replayed, leases taken.
CREATE TABLE ds_sync.audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    who      text NOT NULL DEFAULT session_user,
    action   text NOT NULL,
    target   text NOT NULL,
    details  jsonb NOT NULL DEFAULT '{}'
);

-- Made before Electric's first start, because an Electric that makes its own publication also drops its
-- slot and every shape.  Without publish_via_partition_root live rows carry the leaf's name as key.
CREATE PUBLICATION electric_publication_default
    FOR TABLE ds_sync.session_events, ds_sync.stream_chunks, ds_sync.electric_pad
    WITH (publish_via_partition_root = true);

GRANT USAGE ON SCHEMA ds_sync TO ds_sync_writer, ds_sync_reader;
GRANT SELECT ON ds_sync.schema_version, ds_sync.work_partitioning, ds_sync.route
    TO ds_sync_writer;
GRANT SELECT, INSERT ON ds_sync.session_events, ds_sync.stream_chunks, ds_sync.dead_letter
    TO ds_sync_writer;
GRANT SELECT, INSERT, UPDATE ON ds_sync.stream, ds_sync.stream_offset, ds_sync.instance
    TO ds_sync_writer;
GRANT SELECT, UPDATE ON ds_sync.work_partition, ds_sync.bridge, ds_sync.electric_pad
    TO ds_sync_writer;
GRANT DELETE ON ds_sync.instance TO ds_sync_writer;
GRANT INSERT ON ds_sync.audit TO ds_sync_writer;
GRANT SELECT ON ds_sync.session_events, ds_sync.stream_chunks, ds_sync.electric_pad
    TO ds_sync_reader;

INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (1, 1, 'schema');
