-- SPDX-License-Identifier: Apache-2.0
-- The login roles of the stack, once per new cluster and before the first migration: syncd may write
-- what it must and no more, Electric may read and replicate.  The migration fills the two group roles
-- with rights.  Passwords come from the environment of psql.
\set ON_ERROR_STOP on
\getenv syncd_password SYNCD_DB_PASSWORD
\getenv electric_password ELECTRIC_DB_PASSWORD
CREATE ROLE ds_sync_writer NOLOGIN;
CREATE ROLE ds_sync_reader NOLOGIN;
CREATE ROLE syncd LOGIN PASSWORD :'syncd_password' IN ROLE ds_sync_writer;
CREATE ROLE electric LOGIN REPLICATION PASSWORD :'electric_password' IN ROLE ds_sync_reader;
