# SPDX-License-Identifier: Apache-2.0
"""A certificate authority made for one test run, and what it signs.

Everything is made with the program openssl in a folder of the caller; nothing is kept.
"""
import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

SUBJECT_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


class Pair:
    """A certificate and its key, as PEM files."""

    def __init__(self, cert, key):
        self.cert = cert
        self.key = key


class Authority:
    def __init__(self, folder, name="ca"):
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("01\n")
        self.config = self.folder / "ca.conf"
        self.config.write_text(
            "[ca]\ndefault_ca = own\n[own]\n"
            f"dir = {self.folder}\nnew_certs_dir = {self.folder}\n"
            f"database = {self.folder}/index.txt\nserial = {self.folder}/serial\n"
            f"certificate = {self.cert}\nprivate_key = {self.key}\n"
            "default_md = sha256\npolicy = any\nunique_subject = no\n"
            f"[any]\ncommonName = supplied\n[leaf]\n{SUBJECT_NAMES}\nbasicConstraints = CA:FALSE\n")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", f"/CN=test {name}",
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def sign(self, name, days_from=-1, days_to=30):
        """A certificate for 127.0.0.1 and localhost that is good from one day to another."""
        key, request, cert = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        now = datetime.now(timezone.utc)
        start, end = ((now + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")
                      for days in (days_from, days_to))
        openssl("ca", "-batch", "-notext", "-config", self.config, "-extensions", "leaf",
                "-startdate", start, "-enddate", end, "-in", request, "-out", cert)
        key.chmod(0o600)
        return Pair(cert, key)

    def context(self, client=None):
        """For Python's clients: believes this authority alone, and shows the client's certificate."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if client:
            context.load_cert_chain(str(client.cert), str(client.key))
        return context


def settings(pair, client_ca=None):
    """The environment of a server that uses them."""
    names = {"DS_TLS__CERT_PATH": str(pair.cert), "DS_TLS__KEY_PATH": str(pair.key)}
    return {**names, "DS_TLS__CLIENT_CA_PATH": str(client_ca)} if client_ca else names
