"""Hosts on loopback that serve as the sources do: plain with ranges, the Hub, Google Drive with its confirm page.

And what can go wrong: 503 twice, a transfer that breaks after n bytes, another file, no file.

Every byte that was sent is counted, by path and range, so that a test can tell what was fetched twice.
"""

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import requests

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIRM = (  # Drive's is one line, too
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{id}">'
    '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="1"></form></body></html>'
)
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have downloaded this file recently. It may take up to 24 hours.</p>
</body></html>"""


@dataclass
class Asked:
    """One request that was answered with a file: from which byte, and how many have been sent."""

    path: str
    start: int
    sent: int = 0


class Host:
    """files: path -> bytes. faults: path -> what the n-th request (from 1) meets: a status, `drop`, `page`, `plain` (no
    ranges), ("cut", n) or other bytes in place of the file. pause: seconds after each block of `block` bytes."""

    block, pause = 1 << 14, 0.0

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Callable[[int], object]] = {}
        self.count: dict[str, int] = defaultdict(int)
        self.log: list[Asked] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self) -> None:
                host.answer(self)

            def do_HEAD(self) -> None:
                host.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:  # a client that was killed
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def sent(self, path: str) -> int:
        return sum(asked.sent for asked in self.log if asked.path == path)

    def serve(self, folder: Path, at: str) -> None:
        """Every file of a folder, as a mirror has it."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.files[f"{at}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()

    def hub(self, repo: str, files: dict[str, bytes], kind: str = "model", revision: str = "main") -> None:
        """A repository of the Hub: its listing, and its files at one commit. Those over 1,000 bytes are large files."""
        begin = "/datasets" if kind == "dataset" else ""
        siblings = []
        for name, data in files.items():
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            entry = {"rfilename": name, "size": len(data), "blobId": git}
            if len(data) > 1000:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
            self.files[f"{begin}/{repo}/resolve/{COMMIT}/{name}"] = data
        info = {"_id": "1", "id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "private": False,
                "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
        self.files[f"/api/{kind}s/{repo}/revision/{revision}"] = json.dumps(info).encode()

    def drive(self, number: str, data: bytes) -> None:
        """A file of Google Drive, which first asks whether it should be downloaded at all."""
        self.files[f"/drive.google.com/uc?id={number}"] = CONFIRM.format(id=number).encode()
        self.files[f"/drive.usercontent.google.com/download?id={number}"] = data

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts, number = urlsplit(request.path), ""
        path = unquote(parts.path)
        if number := "".join(parse_qs(parts.query).get("id", [])):
            path += f"?id={number}"
        self.count[path] += 1
        data, fault = self.files.get(path), self.faults.get(path, lambda count: None)(self.count[path])
        if fault == "drop":
            request.close_connection = True
            return
        if isinstance(fault, bytes):
            data = fault
        status = fault if isinstance(fault, int) else 404 if data is None else 200
        if status != 200:
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.send_header("Content-Type", "text/plain")
            if path.startswith("/api/"):
                request.send_header("X-Error-Code", "RepoNotFound")
            request.end_headers()
            return
        page = fault == "page" or data.startswith(b"<!DOCTYPE")
        if page and not data.startswith(b"<!DOCTYPE"):
            data = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        start, etag = 0, f'"{hashlib.md5(data).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and fault != "plain" and request.headers.get("If-Range", etag) == etag:
            start = int(asked[1])
            if start >= len(data):
                request.send_response(416)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.send_header("ETag", etag)
        request.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if number and not page:
            request.send_header("Content-Disposition", 'attachment; filename="file.zip"')
        request.end_headers()
        if request.command == "HEAD":
            return
        end = min(len(data), start + fault[1]) if isinstance(fault, tuple) else len(data)
        asked = Asked(path, start)
        self.log.append(asked)
        try:
            for at in range(start, end, self.block):
                block = data[at : min(end, at + self.block)]
                request.wfile.write(block)
                asked.sent += len(block)
                if self.pause:
                    time.sleep(self.pause)
        except OSError:  # the other side was killed
            pass
        if end < len(data):
            request.close_connection = True


def redirect(url: str, patch: Callable | None = None) -> None:
    """From here on https://<host>/<path> is asked for at <url>/<host>/<path>, by everything that uses requests."""
    real = requests.adapters.HTTPAdapter.send

    def send(self: object, request: requests.PreparedRequest, **more: object) -> requests.Response:
        request.url = re.sub(r"^https://", f"{url}/", request.url)
        return real(self, request, **more)

    if patch:
        patch(requests.adapters.HTTPAdapter, "send", send)
    else:
        requests.adapters.HTTPAdapter.send = send


def write_sources(path: Path, things: dict[str, dict]) -> Path:
    """A table of sources as TOML."""
    lines = []
    for name, thing in things.items():
        lines.append(f"[{name}]")
        for key, value in thing.items():
            if key == "files":
                lines += ["files = [", *(f"  {inline(row)}," for row in value), "]"]
            else:
                lines.append(f"{key} = {inline(value)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


def thing(*files: dict, root: str = "data", **more: object) -> dict:
    """One thing of a table of sources."""
    return {"title": "a thing", "root": root, "folder": "thing", "licence": "none stated", "terms": "For tests.",
            **more, "files": [{"mark": "seen", **file} for file in files]}  # fmt: skip
