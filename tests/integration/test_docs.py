# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ say which metrics the programs have.  DS_DOCS=write writes them instead."""
import os
import re

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
