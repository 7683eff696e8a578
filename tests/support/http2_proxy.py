# SPDX-License-Identifier: Apache-2.0
"""nginx in front of a server, speaking HTTP/2 over TLS; says afterwards which request came how."""
import shutil
from pathlib import Path

import certificates
import ds


TCP_ESTABLISHED = "01"


class Http2Proxy:
    def __init__(self, folder, upstream_port):
        self.authority = certificates.Authority(folder, "http2-ca")
        pair = self.authority.sign("http2-proxy")
        self.port = ds.free_port()
        self.access_log = folder / "http2-access.log"
        config = folder / "http2.conf"
        config.write_text(f"""
daemon off;
master_process off;
pid {folder}/http2.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    log_format way '$server_protocol $connection $request_method $uri';
    access_log {self.access_log} way;
    client_body_temp_path {folder}/http2-body;
    proxy_temp_path {folder}/http2-proxy;
    fastcgi_temp_path {folder}/http2-fastcgi;
    uwsgi_temp_path {folder}/http2-uwsgi;
    scgi_temp_path {folder}/http2-scgi;
    server {{
        listen 127.0.0.1:{self.port} ssl http2;
        ssl_certificate {pair.cert};
        ssl_certificate_key {pair.key};
        location / {{
            proxy_pass http://127.0.0.1:{upstream_port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
""")
        self.process = ds.Process("http2-proxy", [program(), "-c", config, "-p", folder], folder)
        self.process.wait_for(lambda: not ds.port_is_free(self.port), "to listen")

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    def requests(self):
        """(protocol, connection, method, path) of those that ended."""
        lines = self.access_log.read_text().splitlines() if self.access_log.exists() else []
        return [tuple(line.split(" ", 3)) for line in lines]

    def connections(self):
        """How many clients have to it now."""
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(fields[1].endswith(f":{self.port:04X}") and fields[3] == TCP_ESTABLISHED for fields in lines)

    def stop(self):
        return self.process.stop()


def program():
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise ds.StackError("nginx is not there: run packaging/install-deps test")
    return found
