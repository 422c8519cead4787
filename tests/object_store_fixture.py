"""A small S3 server in memory: what object stores' clients ask of it, and no more."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from loopback_fixture import serve_on_loopback


@dataclass
class ObjectStore:
    """Objects by `bucket/key`; `parts` are uploads that are not complete yet."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def list_keys(self, bucket: str, prefix: str, delimiter: str) -> str:
        """The answer to ListObjectsV2."""
        keys, folders = [], {}
        for name in sorted(self.objects):
            key = name.removeprefix(f"{bucket}/")
            if not name.startswith(f"{bucket}/") or not key.startswith(prefix):
                continue
            head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if mark:
                folders[prefix + head + mark] = None
            else:
                keys.append((key, self.objects[name]))
        rows = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{tag(data)}</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in keys
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


REFUSED = {"missing": (404, "NoSuchBucket"), "forbidden": (403, "InvalidAccessKeyId")}  # buckets that are not there


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: ObjectStore

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        status, code = REFUSED.get(self.path.strip("/").partition("?")[0].partition("/")[0], (0, ""))
        if status:
            self.read_body()
            self.send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())
        return not status

    def do_GET(self) -> None:
        name, query = self.read_target()
        if "list-type" in query:
            prefix, delimiter = (query.get(key, [""])[0] for key in ("prefix", "delimiter"))
            self.send(200, self.store.list_keys(name.rstrip("/"), prefix, delimiter).encode())
            return
        data = self.store.objects.get(name)
        if data is None:
            self.send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        asked = self.headers.get("range", "").removeprefix("bytes=")
        if not asked:
            self.send(200, data, ETag=tag(data))
            return
        first, last = asked.split("-")
        start = int(first) if first else len(data) - int(last)
        end = min(int(last) + 1, len(data)) if first and last else len(data)
        self.send(206, data[start:end], ETag=tag(data), **{"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        name, query = self.read_target()
        body = self.read_body()
        with self.store.lock:
            if "uploadId" in query:
                self.store.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            elif self.headers.get("if-none-match") == "*" and name in self.store.objects:
                self.send(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            elif "x-amz-copy-source" in self.headers:
                self.store.objects[name] = self.store.objects[unquote(self.headers["x-amz-copy-source"]).lstrip("/")]
            else:
                self.store.objects[name] = body
        self.send(200, b"<CopyObjectResult><ETag>0</ETag></CopyObjectResult>", ETag=tag(body))

    def do_POST(self) -> None:
        name, query = self.read_target()
        body = self.read_body()
        with self.store.lock:
            if "uploads" in query:
                number = str(len(self.store.parts))
                self.store.parts[number] = {}
                answer = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            elif "uploadId" in query:
                parts = self.store.parts[query["uploadId"][0]]
                self.store.objects[name] = b"".join(parts[number] for number in sorted(parts))
                answer = "<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>"
            else:
                keys = [str(key.text) for key in ElementTree.fromstring(body).iter() if key.tag.endswith("Key")]
                for key in keys:
                    self.store.objects.pop(f"{name.rstrip('/')}/{key}", None)
                gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
                answer = f"<DeleteResult>{gone}</DeleteResult>"
        self.send(200, answer.encode())

    def do_DELETE(self) -> None:
        name, _ = self.read_target()
        self.store.objects.pop(name, None)
        self.send(204, b"")

    def read_target(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return unquote(parts.path).lstrip("/"), parse_qs(parts.query, keep_blank_values=True)

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def describe_access(url: str) -> dict[str, str]:
    """The environment variables by which clients find the store."""
    settings = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    return {f"AWS_{name}": value for name, value in {**settings, "ENDPOINT": url}.items()}


@contextmanager
def run_object_store() -> Iterator[ObjectStore]:
    """An empty store on loopback."""
    store = ObjectStore()
    with serve_on_loopback(type("Bound", (Handler,), {"store": store})) as store.url:
        yield store
