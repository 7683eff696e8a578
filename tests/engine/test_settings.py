# SPDX-License-Identifier: Apache-2.0
"""The settings of ds-server from outside: every name that a server of this protocol had, works or is refused."""
import os
import re
import socket
import subprocess

import pytest

import certificates
import ds

OK = None


def run(*flags, **environment):
    """(exit status, everything it printed); it must not need to run."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DS_", "RUST_LOG"))}
    done = subprocess.run([ds.program("ds-server"), *map(str, flags)], env={**clean, **environment},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=ds.HANG_SECONDS)
    return done.returncode, done.stdout


def printed(*flags, **environment):
    """{setting: (value, origin)} of --print-config."""
    status, text = run("--print-config", *flags, **environment)
    assert status == 0, text
    return {name: (value, origin)
            for origin, name, value in re.findall(r"^# (.*)\n(\w+)=(.*)$", text, re.M)}


# What was a setting in some server of this protocol, with a value that it took there: the setting of
# ours that it becomes and the value there, or what the refusal says.
KNOWN = [
    # 0.1
    ("DS_SERVER__PORT", "4500", "DS_SERVER__PORT", "4500"),
    ("DS_SERVER__LONG_POLL_TIMEOUT_SECS", "5", "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", "5s"),
    ("DS_SERVER__SSE_RECONNECT_INTERVAL_SECS", "0",
     "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS", "0"),
    ("DS_HTTP__CORS_ORIGINS", "https://a.example", "DS_HTTP__CORS_ORIGINS", "https://a.example"),
    ("DS_HTTP__STREAM_BASE_PATH", "/streams", "DS_HTTP__STREAM_BASE_PATH", "/streams"),
    ("DS_LIMITS__MAX_MEMORY_BYTES", "1000", "DS_LIMITS__MAX_MEMORY_BYTES", "1000"),
    ("DS_LIMITS__MAX_STREAM_BYTES", "1000", "DS_LIMITS__MAX_STREAM_BYTES", "1000"),
    ("DS_STORAGE__MODE", "memory", "DS_STORAGE__MODE", "memory"),
    ("DS_STORAGE__MODE", "file-fast", "DS_STORAGE__MODE", "file-fast"),
    ("DS_STORAGE__MODE", "fast", "DS_STORAGE__MODE", "file-fast"),
    ("DS_STORAGE__MODE", "file-durable", "DS_STORAGE__MODE", "file-durable"),
    ("DS_STORAGE__MODE", "file", "DS_STORAGE__MODE", "file-durable"),
    ("DS_STORAGE__MODE", "durable", "DS_STORAGE__MODE", "file-durable"),
    ("DS_STORAGE__MODE", "acid", "DS_STORAGE__MODE", "acid"),
    ("DS_STORAGE__MODE", "redb", "DS_STORAGE__MODE", "acid"),
    ("DS_STORAGE__DATA_DIR", "/var/lib/x", "DS_STORAGE__DATA_DIR", "/var/lib/x"),
    ("DS_STORAGE__ACID_SHARD_COUNT", "8", "DS_STORAGE__ACID_SHARD_COUNT", "8"),
    ("DS_STORAGE__ACID_SHARD_COUNT", "7", "refused", "power of two"),
    ("DS_STORAGE__ACID_BACKEND", "file", OK, OK),
    ("DS_STORAGE__ACID_BACKEND", "memory", "refused", "DS_STORAGE__MODE=memory"),
    ("DS_STORAGE__ACID_BACKEND", "in-memory", "refused", "DS_STORAGE__MODE=memory"),
    ("DS_LOG__RUST_LOG", "debug", "DS_LOG__RUST_LOG", "debug"),
    ("RUST_LOG", "debug", "DS_LOG__RUST_LOG", "debug"),
    ("PORT", "4500", "DS_SERVER__PORT", "4500"),
    ("LONG_POLL_TIMEOUT_SECS", "5", "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", "5s"),
    ("SSE_IDLE_CLOSE_SECS", "60", "refused", "SSE_RECONNECT_INTERVAL_SECS"),
    # 0.3 and 0.4
    ("DS_SERVER__BIND_ADDRESS", "127.0.0.1:1", "DS_SERVER__BIND_ADDRESS", "127.0.0.1:1"),
    ("DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", "5",
     "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS", "5s"),
    ("DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS", "5",
     "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS", "5s"),
    ("DS_LIMITS__MAX_REQUEST_BODY_BYTES", "1000", "DS_LIMITS__MAX_REQUEST_BODY_BYTES", "1000"),
    ("DS_LIMITS__MAX_STREAM_NAME_BYTES", "100", "DS_LIMITS__MAX_STREAM_NAME_BYTES", "100"),
    ("DS_LIMITS__MAX_STREAM_NAME_SEGMENTS", "3", "DS_LIMITS__MAX_STREAM_NAME_SEGMENTS", "3"),
    ("DS_LIMITS__MAX_STORAGE_JOBS", "64", "refused", "remove it"),
    ("DS_HTTP__ALLOW_WILDCARD_CORS", "true", "DS_HTTP__ALLOW_WILDCARD_CORS", "true"),
    ("DS_HTTP__ALLOW_WILDCARD_CORS", "false", "refused", "name the origins"),
    ("DS_HTTP__ALLOW_INSECURE_WEBHOOKS", "true", "DS_HTTP__ALLOW_INSECURE_WEBHOOKS", "true"),
    ("DS_ADMIN__ENABLED", "true", "refused", "DS_ADMIN__LISTEN"),
    ("DS_ADMIN__ENABLED", "false", "refused", "DS_ADMIN__LISTEN"),
    ("DS_ADMIN__BASE_PATH", "/admin", OK, OK),
    ("DS_ADMIN__BASE_PATH", "/else", "refused", "DS_ADMIN__LISTEN"),
    ("DS_TRANSPORT__MODE", "http", "DS_TRANSPORT__MODE", "http"),
    ("DS_TRANSPORT__MODE", "tls", "refused", "DS_TLS__CERT_PATH"),
    ("DS_TRANSPORT__MODE", "mtls", "refused", "DS_TLS__CERT_PATH"),
    ("DS_TRANSPORT__HTTP__VERSIONS", "http1", OK, OK),
    ("DS_TRANSPORT__HTTP__VERSIONS", "http1,http2", "refused", "proxy"),
    ("DS_TRANSPORT__TLS__ALPN_PROTOCOLS", "http/1.1", OK, OK),
    ("DS_TRANSPORT__TLS__ALPN_PROTOCOLS", "h2,http/1.1", "refused", "proxy"),
    ("DS_TRANSPORT__TLS__MIN_VERSION", "1.3", "DS_TLS__MIN_VERSION", "1.3"),
    ("DS_TRANSPORT__TLS__MAX_VERSION", "1.2", "DS_TLS__MAX_VERSION", "1.2"),
    ("DS_PROXY__ENABLED", "false", OK, OK),
    ("DS_PROXY__ENABLED", "true", "refused", "X-Forwarded-Proto"),
    ("DS_PROXY__FORWARDED_HEADERS", "none", OK, OK),
    ("DS_PROXY__FORWARDED_HEADERS", "x-forwarded", "refused", "X-Forwarded-Proto"),
    ("DS_PROXY__TRUSTED_PROXIES", "10.0.0.0/8", "refused", "X-Forwarded-Proto"),
    ("DS_PROXY__IDENTITY__MODE", "none", OK, OK),
    ("DS_PROXY__IDENTITY__MODE", "header", "refused", "identities"),
    ("DS_PROXY__IDENTITY__HEADER_NAME", "X-User", "refused", "identities"),
    ("DS_PROXY__IDENTITY__REQUIRE_TLS", "true", OK, OK),
    ("DS_OBSERVABILITY__RUST_LOG", "debug", "DS_LOG__RUST_LOG", "debug"),
]


@pytest.mark.parametrize("name, value, becomes, is_", KNOWN)
def test_a_setting_of_another_server_works_or_is_refused_with_what_to_do(name, value, becomes, is_):
    if becomes == "refused":
        status, text = run("--check-config", **{name: value})
        assert status == 2 and name in text and is_ in text, text
    elif becomes is OK:
        status, text = run("--check-config", **{name: value})
        assert (status, text) == (0, "the settings are good\n")
    else:
        assert printed(**{name: value})[becomes] == (is_, "environment")


@pytest.mark.parametrize("name", ["CERT_PATH", "KEY_PATH", "CLIENT_CA_PATH"])
def test_the_paths_of_tls_have_two_names(authority, name):
    pair = authority.sign("names")
    paths = {"CERT_PATH": str(pair.cert), "KEY_PATH": str(pair.key), "CLIENT_CA_PATH": str(authority.cert)}
    environment = {f"DS_TLS__{key}": path for key, path in paths.items() if key != name}
    environment[f"DS_TRANSPORT__TLS__{name}"] = paths[name]
    assert printed(**environment)[f"DS_TLS__{name}"] == (paths[name], "environment")
    assert run("--check-config", **environment) == (0, "the settings are good\n")


def test_what_is_printed_can_be_read_back(tmp_path):
    first = printed(DS_LIMITS__MAX_STREAMS="12", DS_HTTP__HEAD_TIMEOUT="1500ms")
    file = tmp_path / "settings"
    file.write_text(run("--print-config", DS_LIMITS__MAX_STREAMS="12", DS_HTTP__HEAD_TIMEOUT="1500ms")[1])
    again = printed("--config", file)
    assert {name: value for name, (value, _) in again.items()} == {
        name: value for name, (value, _) in first.items()}
    assert again["DS_LIMITS__MAX_STREAMS"] == ("12", "file")


def test_the_later_source_wins_and_is_named(tmp_path):
    file = tmp_path / "settings"
    file.write_text("# ours\n\nDS_LIMITS__MAX_STREAMS = 1\nDS_LIMITS__MAX_CONNECTIONS='2'\nPORT=3\n")
    got = printed("--config", file, "--set", "DS_LIMITS__MAX_CONNECTIONS=4", DS_SERVER__PORT="5")
    assert got["DS_LIMITS__MAX_STREAMS"] == ("1", "file")
    assert got["DS_LIMITS__MAX_CONNECTIONS"] == ("4", "flag")
    assert got["DS_SERVER__PORT"] == ("5", "environment")
    assert got["DS_LIMITS__MAX_STREAM_BYTES"][1] == "default"


def test_a_file_of_another_format_is_refused(tmp_path):
    file = tmp_path / "server.toml"
    file.write_text("[server]\nport = 4437\n")
    status, text = run("--check-config", "--config", file)
    assert status == 2 and "server.toml:1" in text and "TOML" in text


def test_a_name_that_nobody_knows_is_warned_of():
    status, text = run("--check-config", DS_LIMITS__MAX_STREAM="1")
    assert status == 0 and "config.unknown" in text and "DS_LIMITS__MAX_STREAM" in text


# ---- --check-config looks at what the settings name ----

def refused(text, *flags, **environment):
    status, out = run("--check-config", *flags, **environment)
    assert status == 2 and text in out, out


def test_an_address_that_is_not_ours_is_found():
    refused("DS_SERVER__BIND_ADDRESS", DS_SERVER__BIND_ADDRESS="192.0.2.1:4437")
    refused("DS_ADMIN__LISTEN", DS_ADMIN__LISTEN="host.invalid:4439")


def test_a_port_in_use_is_no_fault_of_the_settings():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run("--check-config", DS_SERVER__BIND_ADDRESS=address)[0] == 0


def test_certificates_are_tried(authority):
    pair, other = authority.sign("one"), authority.sign("two")
    assert run("--check-config", **certificates.settings(pair))[0] == 0
    refused("key values mismatch", **certificates.settings(certificates.Pair(pair.cert, other.key)))


def test_the_data_directory_is_looked_at_and_left_alone(tmp_path):
    def storage(path, mode="file-durable"):
        return {"DS_STORAGE__MODE": mode, "DS_STORAGE__DATA_DIR": str(path)}

    assert run("--check-config", **storage(tmp_path / "not/yet/there"))[0] == 0
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("")
    refused("Not a directory", **storage(tmp_path / "file"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/letter.txt").write_text("Dear")
    refused("letter.txt", **storage(tmp_path / "foreign"))
    (tmp_path / "foreign/letter.txt").unlink()
    server = ds.DsServer(tmp_path, environment=storage(tmp_path / "foreign", "acid")).wait_ready()
    for _ in range(2):                           # while it is used, and afterwards
        refused("DS_STORAGE__MODE=acid", **storage(tmp_path / "foreign"))
        assert run("--check-config", **storage(tmp_path / "foreign", "acid"))[0] == 0
        assert server.stop() == 0
