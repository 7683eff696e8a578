# SPDX-License-Identifier: Apache-2.0
"""A stream whose transactions take too long holds up nobody else, and says what to do."""
import os
import subprocess

import ds
import pytest
from routes import declare, make_table, payloads
from test_syncd_source_faults import FAST, messages, state_of

SETTINGS = {**FAST, "SYNCD_WRITERS": "1", "SYNCD_STATEMENT_TIMEOUT": "1s", "SYNCD_LEASE": "15s", "SYNCD_IDLE_TIMEOUT": "60s"}
QUICK = [f"quick/{number}" for number in range(3)]


@pytest.fixture
def slow_table(database):
    """Rows of stream slow/1 take as long as the test likes: as long as somebody holds an advisory lock."""
    subprocess.run([ds.program("dsctl"), "db", "migrate"], env={**os.environ, "POSTGRES_URL": database[0]}, check=True,
                   stdout=subprocess.DEVNULL)
    make_table(database[1], "public.rows")
    database[1].cursor().execute("""
        GRANT ALL ON public.rows TO PUBLIC;
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END';
        CREATE TRIGGER wait BEFORE INSERT ON public.rows FOR EACH ROW WHEN (NEW.stream_name = 'slow/1')
            EXECUTE FUNCTION public.wait()""")
    declare(database[1], "r", ["slow/1", *QUICK], "public.rows")
    return database


def test_a_stream_that_takes_too_long_holds_up_no_other_and_goes_on_when_it_can(
        slow_table, postgres_server, server, start_syncd):
    connection = slow_table[1]
    holder = postgres_server.connect(slow_table[0].rpartition("/")[2])
    holder.cursor().execute("SELECT pg_advisory_lock(7)")
    for name in ["slow/1", *QUICK]:
        server.create(name)
        server.append(name, messages(0, 120))
    syncd = start_syncd([], SYNCD_ADMIN_URLS=f"default={server.admin_url}", **SETTINGS)
    syncd.wait_for(lambda: state_of(connection, "slow/1")[0] == "backoff", "slow/1 to wait", seconds=90)
    reason = state_of(connection, "slow/1")[1]
    assert "SYNCD_STATEMENT_TIMEOUT" in reason and "statement timeout" in reason, reason
    assert "event=stream.stalled" in syncd.log_text()
    shown = subprocess.run([ds.program("dsctl"), "sync", "status"], env={**os.environ, "POSTGRES_URL": slow_table[0]},
                           stdout=subprocess.PIPE, text=True).stdout
    assert "SYNCD_STATEMENT_TIMEOUT" in shown
    for turn in (1, 2):
        for name in QUICK:
            server.append(name, messages(120 * turn, 120))
        for name in QUICK:
            syncd.wait_for(lambda: len(payloads(connection, "public.rows", name)) == 120 * (turn + 1), name)
    assert payloads(connection, "public.rows", "slow/1") == []
    holder.close()
    # It is tried again after four times as long as the last try took.
    syncd.wait_for(lambda: len(payloads(connection, "public.rows", "slow/1")) == 120, "slow/1", seconds=180)
    assert payloads(connection, "public.rows", "slow/1") == messages(0, 120)
    syncd.wait_for(lambda: state_of(connection, "slow/1") == ("running", None), "slow/1 to be well again")


def test_a_batch_that_takes_too_long_is_loaded_in_smaller_ones(slow_table, server, start_syncd):
    """Each row is quick enough, and a thousand are not."""
    connection = slow_table[1]
    connection.cursor().execute(
        "CREATE OR REPLACE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END'")
    server.create("slow/1")
    server.append("slow/1", messages(0, 1000))
    syncd = start_syncd([], SYNCD_ADMIN_URLS=f"default={server.admin_url}", **SETTINGS)
    syncd.wait_for(lambda: len(payloads(connection, "public.rows", "slow/1")) == 1000, "all rows", seconds=120)
    assert payloads(connection, "public.rows", "slow/1") == messages(0, 1000)
    syncd.wait_for(lambda: "57014" not in (state_of(connection, "slow/1")[1] or ""), "to be well again")
