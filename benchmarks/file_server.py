"""A server of one file on loopback, as fast as sendfile or at a link's rate: ``python file_server.py FILE RATE``."""

from __future__ import annotations

import http.server
import os
import re
import sys
import threading
import time
from pathlib import Path

_CHUNK_BYTES = 1 << 16


class Link:
    """Lets ``bytes_per_second`` through, over all connections together; 0 for no limit."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until the link has carried ``count`` more bytes."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        time.sleep(wait)


def serve(path: Path, bytes_per_second: int) -> None:
    """Print the URL and serve until killed."""
    size = path.stat().st_size
    link = Link(bytes_per_second)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, stop = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            with path.open("rb") as file:
                while start < stop:
                    count = min(stop - start, _CHUNK_BYTES if bytes_per_second else 1 << 24)
                    link.take(count)
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, count)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients hang up when they have what they need

    server = Server(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/{path.name}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
