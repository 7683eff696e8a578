# SPDX-License-Identifier: Apache-2.0
"""What a stream's server may do wrong.  No row is lost or doubled, and the log says what happens next."""
import json
import signal

import ds
import pytest
from fake_server import FakeServer

FAST = {"SYNCD_IDLE_TIMEOUT": "1s", "SYNCD_BACKOFF_BASE": "20ms", "SYNCD_BACKOFF_MAX": "200ms"}
STREAM = "faulty/stream"


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.stop()


def rows(connection, stream=STREAM):
    cursor = connection.cursor()
    cursor.execute("SELECT seq, payload FROM ds_sync.session_events WHERE stream_name = %s ORDER BY seq",
                   (stream,))
    return cursor.fetchall()


def wait_rows(database, expected, syncd, stream=STREAM):
    """Until the table holds exactly these messages, numbered from 0."""
    wanted = list(enumerate(expected))

    def arrived():
        if not syncd.alive():
            raise ds.StackError(f"syncd ended; its log:\n{syncd.log_end(40)}")
        return len(rows(database[1], stream)) >= len(wanted)
    try:
        ds.wait_until(arrived, what=f"{len(wanted)} rows")
    except ds.StackError as error:
        raise AssertionError(f"{error}; there are {len(rows(database[1], stream))}\n"
                             f"{syncd.log_end(40)}") from None
    assert rows(database[1], stream) == wanted


def state_of(connection, stream=STREAM):
    cursor = connection.cursor()
    cursor.execute("SELECT state, reason FROM ds_sync.stream WHERE name = %s", (stream,))
    return cursor.fetchone() or (None, None)


def messages(first, count):
    return [{"n": number, "text": "é \\ \n"} for number in range(first, first + count)]


def start(start_syncd, fake, **environment):
    return start_syncd([STREAM], server_url=fake.url, **{**FAST, **environment})


TRANSIENT = ["500", "503_retry_after", "html", "malformed_json", "malformed_sse", "data_without_control",
             "garbled_offset", "stall", "cut_inside", "401"]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_at_the_start_costs_nothing(fault, database, fake, start_syncd):
    fake.append(messages(0, 5))
    fake.append(messages(5, 5))
    fake.fail_next(fault)
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 10), syncd)
    assert "level=warn" in syncd.log_text() and "event=" in syncd.log_text()


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_in_the_middle_costs_nothing(fault, database, fake, start_syncd):
    fake.append(messages(0, 5))
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 5), syncd)
    fake.fail_next(fault)
    with fake.changed:
        fake.events.append(messages(5, 3))     # seen only by the next connection
    fake.cut_all()
    fake.append(messages(8, 2))
    wait_rows(database, messages(0, 10), syncd)


def test_a_server_is_not_asked_again_before_the_time_that_it_named(database, fake, start_syncd):
    """Our own backoff is a fifth of a second at most."""
    fake.append(messages(0, 3))
    fake.retry_after = 3
    fake.fail_next("503_retry_after")
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 3), syncd)
    heads = list(fake.heads)
    refused = next(number for number, head in enumerate(heads) if head.method == "GET")
    waited = heads[refused + 1].at - heads[refused].at
    assert waited > fake.retry_after - 0.01, "timers count whole milliseconds"


def test_data_events_that_share_a_control_event_arrive_once(database, fake, start_syncd):
    fake.append(messages(0, 5))
    fake.append(messages(5, 5))
    fake.fail_next("two_data_then_control")
    syncd = start(start_syncd, fake)
    fake.append(messages(10, 1))
    wait_rows(database, messages(0, 11), syncd)


def test_one_data_event_of_100000_messages_is_loaded_in_parts(database, fake, start_syncd):
    count = 100_000
    fake.append([{"n": number} for number in range(count)])
    fake.append([{"n": count}])
    syncd = start(start_syncd, fake)

    def arrived():
        cursor = database[1].cursor()
        cursor.execute("SELECT count(*), count(DISTINCT payload->'n'), max(seq) "
                       "FROM ds_sync.session_events")
        return cursor.fetchone() == (count + 1, count + 1, count)
    ds.wait_until(arrived, what=f"{count + 1} rows; log:\n{syncd.log_end()}")
    cursor = database[1].cursor()
    cursor.execute("SELECT count(DISTINCT xmin::text) FROM ds_sync.session_events")
    assert cursor.fetchone()[0] > 1, "all of it in one transaction: the batch limit was not kept"
    cursor.execute("SELECT count(*) FROM ds_sync.session_events WHERE (payload->>'n')::bigint <> seq")
    assert cursor.fetchone()[0] == 0


def test_a_huge_data_event_that_is_cut_again_and_again_arrives_once(database, fake, start_syncd):
    count = 20_000
    fake.append([{"n": number} for number in range(count)])
    fake.fail_next("data_without_control", "cut_inside", "data_without_control")
    syncd = start(start_syncd, fake, SYNCD_BATCH_ROWS_MAX="1000")
    wait_rows(database, [{"n": number} for number in range(count)], syncd)


def test_a_stream_that_does_not_exist_yet_is_awaited(database, fake, start_syncd):
    fake.fail_next(*["404"] * 3)
    fake.append(messages(0, 2))
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 2), syncd)


@pytest.mark.parametrize("fault", ["404", "410"])
def test_a_stream_that_is_gone_stops_with_a_reason(fault, database, fake, start_syncd):
    fake.append(messages(0, 3))
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 3), syncd)
    fake.fail_next(fault)
    fake.cut_all()
    ds.wait_until(lambda: state_of(database[1])[0] == "stopped", what="state stopped")
    assert fault in state_of(database[1])[1]
    assert "level=error" in syncd.log_text()
    assert rows(database[1]) == list(enumerate(messages(0, 3)))


def test_a_stream_that_went_back_stops_with_a_reason(database, fake, start_syncd):
    for number in range(4):
        fake.append(messages(number, 1))
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 4), syncd)
    with fake.changed:
        fake.events = [messages(100, 1)]       # recreated, shorter, on a server without eras
    fake.cut_all()
    ds.wait_until(lambda: state_of(database[1])[0] == "stopped", what="state stopped")
    assert rows(database[1]) == list(enumerate(messages(0, 4)))


@pytest.mark.parametrize("fault", ["redirect", "400"])
def test_an_answer_that_no_retry_can_mend_fails_the_stream(fault, database, fake, start_syncd):
    fake.append(messages(0, 3))
    fake.fail_next(*[fault] * 50)
    syncd = start(start_syncd, fake, wait=False)
    ds.wait_until(lambda: "level=error" in syncd.log_text(), what="an error line")
    ds.wait_until(lambda: state_of(database[1])[0] == "failed", what="state failed")
    assert ("302" if fault == "redirect" else "400") in state_of(database[1])[1]


def test_a_closed_stream_is_finished_and_stays_so(database, fake, start_syncd):
    fake.append(messages(0, 3))
    fake.closed = True
    syncd = start(start_syncd, fake)
    wait_rows(database, messages(0, 3), syncd)
    ds.wait_until(lambda: state_of(database[1])[0] == "closed", what="state closed")
    asked = len(fake.requests)
    assert syncd.stop() == 0
    again = start(start_syncd, fake)
    ds.wait_until(lambda: "closed" in json.dumps(again.status()), what="closed in /status")
    assert len([request for request in fake.requests[asked:] if request[0] == "GET"]) <= 1


def test_a_restarted_empty_server_is_noticed_and_nothing_skipped(folder, database, server, start_syncd):
    """syncd sleeps meanwhile, so it finds a stream of the same name with more messages than it had."""
    stream = "restart/era"
    server.create(stream)
    server.append(stream, messages(0, 5))
    syncd = start_syncd([stream], **FAST)
    wait_rows(database, messages(0, 5), syncd, stream)
    syncd.signal(signal.SIGSTOP)
    server.kill()
    server.start()
    server.wait_ready()
    server.create(stream)
    server.append(stream, messages(50, 9))
    syncd.signal(signal.SIGCONT)
    ds.wait_until(lambda: state_of(database[1], stream)[0] == "stopped", what="state stopped")
    assert "410" in state_of(database[1], stream)[1]
    assert rows(database[1], stream) == list(enumerate(messages(0, 5)))
    assert "level=error" in syncd.log_text()


def test_a_restarted_empty_server_starts_a_generation_where_the_policy_says_so(
        folder, database, server, start_syncd):
    stream = "restart/generation"
    server.create(stream)
    server.append(stream, messages(0, 5))
    syncd = start_syncd([stream], SYNCD_ON_RECREATE="new_generation", **FAST)
    wait_rows(database, messages(0, 5), syncd, stream)
    server.kill()
    server.start()
    server.wait_ready()
    server.create(stream)
    server.append(stream, messages(50, 9))
    wait_rows(database, messages(0, 5) + messages(50, 9), syncd, stream)
    cursor = database[1].cursor()
    cursor.execute("SELECT generation, count(*) FROM ds_sync.session_events GROUP BY 1 ORDER BY 1")
    assert cursor.fetchall() == [(1, 5), (2, 9)]


def test_a_stopped_stream_is_counted_where_alerts_look(server, start_syncd):
    def gauge(state):
        text = ds.http("GET", f"{syncd.url}/metrics")[2].decode()
        return f'syncd_streams{{state="{state}"}} 1\n' in text

    server.create(STREAM)
    server.append(STREAM, messages(0, 1))
    syncd = start_syncd([STREAM], **FAST)
    ds.wait_until(lambda: gauge("running"), what="a running stream in /metrics")
    ds.http("DELETE", server.stream_url(STREAM))
    ds.wait_until(lambda: gauge("stopped") and not gauge("running"), what="a stopped one")
