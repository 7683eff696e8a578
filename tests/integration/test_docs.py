# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ say what the programs do: metrics, statuses, fields, and examples that are run.

DS_DOCS=write writes the tables of metrics instead of comparing them.
"""
import os
import re
import subprocess
import textwrap
from pathlib import Path

import ds
import pytest

SERIES = re.compile(r"^# HELP (\S+) (.+)\n# TYPE \S+ (\S+)$", re.M)


def table(text):
    lines = ["| metric | kind | meaning |", "|---|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {kind} | {meaning} |"
                              for name, meaning, kind in SERIES.findall(text)]) + "\n"


def check_place(page, name, wanted):
    """What docs/<page> holds between <!-- name --> and <!-- end name -->."""
    path = ds.ROOT / "docs" / page
    text = path.read_text()
    head, start, rest = text.partition(f"<!-- {name} -->\n")
    found, end, tail = rest.partition(f"<!-- end {name} -->")
    assert start and end, f"docs/{page} has no place for the {name}"
    if os.environ.get("DS_DOCS") == "write":
        path.write_text(head + start + wanted + end + tail)
    else:
        assert found == wanted, f"docs/{page} is not up to date: run DS_DOCS=write pytest {__file__}"


@pytest.mark.parametrize("page", ["server.md", "syncd.md"])
def test_the_page_lists_the_metrics_of_the_program(page, request):
    if page == "server.md":
        url = request.getfixturevalue("server").admin_url
    else:
        url = request.getfixturevalue("start_syncd")(["docs/none"]).url
    status, _, body = ds.http("GET", f"{url}/metrics")
    assert status == 200
    check_place(page, "metrics", table(body.decode()))


# ---- docs/server.md against the source of the server ----

def source():
    return "\n".join(path.read_text() for path in sorted((ds.ROOT / "server").glob("*.c")))


def place(name):
    text = (ds.ROOT / "docs/server.md").read_text()
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end {name} -->", text, re.S)[1]


def test_every_status_of_the_source_is_on_the_page_with_its_code_and_no_other_code():
    text = source()
    used = set(re.findall(r'\b([45]\d\d),\s*"([A-Z_]{4,})"', text))
    used |= set(re.findall(r'_start\(\w+(?:->\w+)?, ([45]\d\d)\);(?:(?!_start\().)*?_send\(\w+(?:->\w+)?,\s*"([A-Z_]{4,})"',
                           text, re.S))
    listed = set(re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", place("statuses"), re.M))
    assert used - listed == set(), "not in docs/server.md"
    assert [code for _, code in listed if f'"{code}"' not in text] == [], "only in docs/server.md"


def test_every_field_that_the_source_reads_or_writes_is_on_the_page_and_no_other():
    names = dict(re.findall(r'#define (DS_H_\w+)\s+"([\w-]+)"', (ds.ROOT / "common/ds_proto.h").read_text()))
    call = re.compile(r'(?:exchange_field|reply_field(?:_u64)?|op_field_offset|http_head_get)\([^;]*?'
                      r'(?:"([A-Z][A-Za-z]*(?:-[A-Za-z]+)*)"|(DS_H_\w+))', re.S)
    used = {text or names[constant] for text, constant in call.findall(source())}
    used |= {names[constant] for constant in re.findall(r"DS_H_\w+", source())}
    listed = set(re.findall(r"^\| `([\w-]+)` \|", place("fields"), re.M))
    assert used - listed == set(), "not in docs/server.md"
    assert listed - used == set(), "only in docs/server.md"


def tour(text):
    """[(command, expected output)] of the page's console blocks."""
    steps = []
    for block in re.findall(r"^ *```console\n(.*?)^ *```$", text, re.M | re.S):
        for line in textwrap.dedent(block).splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


def pattern(line):
    """`...` stands for anything within a line, alone for any lines."""
    return r"[\s\S]*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*")


def go(steps, environment):
    """Runs the commands in one shell and compares what each says."""
    script = "trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n" + "\n".join(
        f"{command}\nprintf '\\n<<%s>>\\n' {at}" for at, (command, _) in enumerate(steps))
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=2 * ds.HANG_SECONDS, env=environment)
    rest = done.stdout.replace("\r", "")
    for at, (command, expected) in enumerate(steps):
        got, _, rest = rest.partition(f"\n<<{at}>>\n")
        wanted = r"\n".join(pattern(line) for line in expected)
        assert re.fullmatch(wanted, got.strip("\n")), f"$ {command}\n{got}"


def test_the_tour_of_the_page_goes_as_it_says(server):
    steps = tour((ds.ROOT / "docs/server.md").read_text())
    assert len(steps) > 15
    go(steps, {**os.environ, "U": f"{server.url}/v1/stream", "ADMIN": server.admin_url})


# ---- docs/syncd.md, followed from the install to the upgrade ----

@pytest.fixture
def roles(postgres_server):
    """The page makes roles, which belong to all databases."""
    yield
    cursor = postgres_server.connect().cursor()
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname IN ('syncd', 'ops')")
    for name, in cursor.fetchall():
        cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def page(roles, folder, database, server):
    """The page with the places of this test; its settings are in the folder."""
    listen = f"127.0.0.1:{ds.free_port()}"
    (folder / "etc").mkdir()
    text = (ds.ROOT / "docs/syncd.md").read_text()
    for theirs, ours in (("/etc/ds-sync/", f"{folder}/etc/"), ("http://127.0.0.1:4437", server.url),
                         ("127.0.0.1:4438", listen), ("http://127.0.0.1:4439", server.admin_url),
                         ("@db/app", database[0].rpartition("postgres")[2])):
        text = text.replace(theirs, ours)
    settings = re.search(r"^ +DS_SERVER_URL=.*?(?=\n\n)", text, re.M | re.S)[0]
    (folder / "etc/syncd.conf").write_text(textwrap.dedent(settings) + f"\nSYNCD_LISTEN={listen}\n")
    yield text
    # What the roles own and may do goes with the database's objects, before the roles themselves.
    for name in ("syncd", "ops"):
        cursor = database[1].cursor()
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
        if cursor.fetchone():
            cursor.execute(f"DROP OWNED BY {name}")


def test_the_page_of_syncd_can_be_followed(page, database, postgres_server, server):
    steps = tour(page)
    assert len(steps) > 20
    programs = str(Path(ds.program("dsctl")).parent.resolve())
    go(steps, {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DS_SERVER_URL": server.url,
               "PGHOST": "127.0.0.1", "PGPORT": str(postgres_server.port), "PGUSER": "ops",
               "PGDATABASE": database[0].rpartition("/")[2]})
