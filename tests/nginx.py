"""Debian's nginx on a free loopback port, for any test: `with running_nginx(port, "location /chat/ { ... }"): ...`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
_CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  {servers}
}}
"""


@contextmanager
def running_nginx(port: int, servers: str) -> Iterator[Path]:
    """With these `server` blocks, one of which listens at `port`; `{folder}` in them is the folder that is yielded. Raises
    `RuntimeError` with nginx's own words where it does not start."""
    assert NGINX is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, servers=servers.replace("{folder}", name)))
        process = subprocess.Popen([NGINX, "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"])
        try:
            deadline_s = time.monotonic() + 10
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError((folder / "error.log").read_text())
                time.sleep(0.02)
            yield folder
        finally:
            process.terminate()
            process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
