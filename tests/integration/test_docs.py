# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ say what the programs do: metrics, statuses, fields, and examples that are run.

DS_DOCS=write writes the tables of metrics instead of comparing them.
"""
import os
import re
import subprocess

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


def tour():
    """[(command, expected output)] of the page's console blocks."""
    text = (ds.ROOT / "docs/server.md").read_text()
    steps = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


def test_the_tour_of_the_page_goes_as_it_says(server):
    steps = tour()
    assert len(steps) > 15
    script = "\n".join(f"{command}\nprintf '\\n<<%s>>\\n' {at}" for at, (command, _) in enumerate(steps))
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=ds.HANG_SECONDS,
                          env={**os.environ, "U": f"{server.url}/v1/stream", "ADMIN": server.admin_url})
    rest = done.stdout.replace("\r", "")
    for at, (command, expected) in enumerate(steps):
        got, _, rest = rest.partition(f"\n<<{at}>>\n")
        pattern = r"\n".join(re.escape(line).replace(r"\.\.\.", ".*") for line in expected)
        assert re.fullmatch(pattern, got.strip("\n")), f"$ {command}\n{got}"
