# SPDX-License-Identifier: Apache-2.0
"""The stage `static`: what can be said about the stack's files without starting it."""

import base64
import json
import os
import shutil
import subprocess
import sys

import lib
import local


def _envoy_validates(tally):
    try:
        command = local.envoy_command("--mode", "validate", "-c", local.ENVOY_YAML)
    except local.StackError as error:
        tally.check(False, "e2e/envoy.yaml is valid as committed", error)
        return
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    tally.check(result.returncode == 0, "e2e/envoy.yaml is valid as committed", result.stderr[-2000:])


def _leaves(tree, path=()):
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _only_addresses_differ(tally):
    before, after = (dict(_leaves(tree)) for tree in local.render_envoy(1, 2, ("upstream.test", 3)))
    different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    changed = {path[:-1] for path in different}
    tally.check(len(changed) == 3 and all(path[-1] == "socket_address" for path in changed),
                "the local launcher changes three socket addresses of envoy.yaml and nothing else", different)


def _key_pair_matches(tally):
    with open(lib.JWKS, encoding="utf-8") as file:
        keys = json.load(file)["keys"]
    modulus = subprocess.run(["openssl", "rsa", "-in", lib.PRIVATE_KEY, "-noout", "-modulus"], check=True,
                             capture_output=True, text=True).stdout.strip().partition("=")[2]
    number = base64.urlsafe_b64decode(keys[0]["n"] + "==").hex().upper()
    tally.check(len(keys) == 1 and number == modulus.upper(), "jwks.json is the public half of the test key")
    tally.check(keys[0].get("alg") == "RS256" and "d" not in keys[0], "and admits RS256 only, without a private part")


def _compose_config(tally):
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True,
                                                    check=False).returncode != 0:
        print("# docker compose is not installed: `docker compose config` was not tried")
        return
    for profile in ([], ["--profile", "sync"]):
        result = subprocess.run(["docker", "compose", *profile, "config", "--quiet"], cwd=local.ROOT,
                                capture_output=True, text=True, check=False)
        tally.check(result.returncode == 0, f"docker compose {' '.join(profile)} config", result.stderr)


def run(tally):
    checker = subprocess.run([sys.executable, os.path.join(lib.HERE, "check-compose")], capture_output=True,
                             text=True, check=False)
    for line in checker.stdout.splitlines():
        tally.line(line)
    if checker.returncode not in (0, 1):
        tally.check(False, "e2e/check-compose runs to its end", checker.stderr)
    _compose_config(tally)
    _envoy_validates(tally)
    _only_addresses_differ(tally)
    _key_pair_matches(tally)
