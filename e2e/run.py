#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the end-to-end scenarios against a whole stack, and stops the stack whatever happens.

    e2e/run.py                        static checks, then every scenario on local processes
    e2e/run.py --launcher compose     the same scenarios on docker compose
    e2e/run.py --only sse-resume      one scenario (may be repeated; `static` is one of them)

Ends with `N passed, N failed`, which counts checks; exit code 0 only when none failed, 2 when the
stack could not be started.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import time

import compose
import lib
import local
import static

SCENARIO_SECS = 300


def scenario_names():
    return sorted(name for name in os.listdir(lib.HERE)
                  if os.path.exists(os.path.join(lib.HERE, name, "run.py")))


def profile_of(name):
    path = os.path.join(lib.HERE, name, "profile")
    if not os.path.exists(path):
        return "default"
    with open(path, encoding="utf-8") as file:
        profile = file.read().strip()
    if profile not in ("default", "sync"):
        sys.exit(f"{path} says {profile!r}: only `default` and `sync` are known")
    return profile


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []

    def line(self, text):
        print(text, flush=True)
        if text.startswith("ok "):
            self.passed += 1
        elif text.startswith("not ok "):
            self.failed.append(text)

    def check(self, condition, text, detail=""):
        self.line(f"ok {text}" if condition else f"not ok {text}: {detail}")


def run_scenario(name, environment, tally):
    """Its own process, so that a scenario which hangs or crashes is one failed check."""
    before = tally.passed + len(tally.failed)
    failed_before = len(tally.failed)
    child = subprocess.Popen([sys.executable, os.path.join(lib.HERE, name, "run.py")],
                             env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def give_up(_signal, _frame):
        child.kill()
        tally.line(f"not ok {name} ends within {SCENARIO_SECS} s: killed")
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SCENARIO_SECS)
    try:
        for line in child.stdout:
            tally.line(line.rstrip("\n"))
        code = child.wait()
    finally:
        signal.alarm(0)
        if child.poll() is None:
            child.kill()
            child.wait()
    if code != 0 and len(tally.failed) == failed_before:
        tally.line(f"not ok {name} runs to its end: exit code {code}")
    elif tally.passed + len(tally.failed) == before:
        tally.line(f"not ok {name} checks something: it printed no check")


def run_on_stack(stack, names, tally):
    """The stack around the scenarios; False when it could not be started."""
    try:
        environment = stack.start()
        print(f"# stack up: {stack.name}, profile {stack.profile}, {environment['E2E_URL']}", flush=True)
        for name in names:
            started, failed = time.monotonic(), len(tally.failed)
            print(f"# {name}", flush=True)
            run_scenario(name, environment, tally)
            print(f"# {name}: {time.monotonic() - started:.1f} s", flush=True)
            if len(tally.failed) > failed:
                print(stack.logs(), file=sys.stderr)
    except local.StackError as error:
        tally.line(f"not ok the {stack.name} stack starts: {error}")
        return False
    finally:
        complaints = stack.stop()
    tally.check(not complaints, "everything that was started stops when told to", "\n".join(complaints))
    return True


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launcher", choices=("local", "compose"), default="local")
    parser.add_argument("--only", action="append", metavar="SCENARIO", default=[])
    parser.add_argument("--list", action="store_true", help="print the scenarios and leave")
    parser.add_argument("--server-url", metavar="URL", help="put Envoy before this server instead of our own "
                        "(local launcher; its long-poll must last 2 s and its SSE replies 4 s)")
    return parser.parse_args()


def main():
    options = arguments()
    known = ["static"] + scenario_names()
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in options.only if name not in known]
    if unknown:
        sys.exit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = options.only or known

    # A signal becomes an exception, so the stack is stopped on the way out.
    def leave(number, _frame):
        raise KeyboardInterrupt(number)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)

    tally, started_all = Tally(), True
    if "static" in wanted:
        static.run(tally)
    names = [name for name in known if name in wanted and name != "static"]
    if names:
        profile = "sync" if any(profile_of(name) == "sync" for name in names) else "default"
        run_id = secrets.token_hex(4)
        if options.launcher == "compose":
            stack = compose.ComposeStack(profile, run_id)
        else:
            stack = local.LocalStack(profile, run_id, options.server_url)
        try:
            started_all = run_on_stack(stack, names, tally)
        except KeyboardInterrupt:
            print("e2e: interrupted, everything is stopped", file=sys.stderr)
            return 130
    for text in tally.failed:
        print(text, file=sys.stderr)
    print(f"{tally.passed} passed, {len(tally.failed)} failed", flush=True)
    return 2 if not started_all else 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
