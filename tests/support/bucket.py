"""A bucket of S3 on this machine, as much of one as clients need to list, read and write."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 7
"""Names that a request for a list gets: S3 gives 1,000."""


class Bucket(ThreadingHTTPServer):
    """Objects by /BUCKET/KEY. forbidden: what nobody may do, "LIST" or "PUT"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.forbidden = ""

    @property
    def variables(self) -> dict[str, str]:
        """What makes a client of S3 speak to it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """A bucket that answers while the block runs."""
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _forbid(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self._answer(403, body, Content_Type="application/xml")

    def _asked(self) -> tuple[str, dict[str, str]]:
        """The path and the query of this request."""
        place = urlsplit(self.path)
        query = parse_qs(place.query, keep_blank_values=True)
        return unquote(place.path), {name: values[0] for name, values in query.items()}

    def _body(self) -> bytes:
        """What was sent; of chunks that are signed one by one, their content."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return content
        found, at = b"", 0
        while size := re.match(rb"([0-9a-fA-F]+)[^\r]*\r\n", content[at : at + 200]):
            at += size.end()
            found += content[at : at + int(size[1], 16)]
            at += int(size[1], 16) + 2
            if not int(size[1], 16):
                break
        return found

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        path, query = self._asked()
        if "list-type" in query and self.server.forbidden == "LIST":
            self._forbid()
        elif "list-type" in query:
            self._list(path.strip("/"), query)
        else:
            self._read()

    def _read(self) -> None:
        path, _ = self._asked()
        content = self.server.objects.get(path)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
            return
        status, facts = 200, {"ETag": '"1"', "Last-Modified": "Sat, 28 Nov 2026 00:00:00 GMT"}
        facts["Accept-Ranges"] = "bytes"
        if found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            total = len(content)
            start = int(found[1]) if found[1] else max(0, total - int(found[2]))
            end = min(total, int(found[2]) + 1) if found[1] and found[2] else total
            facts["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
            status, content = 206, content[start:end]
        if self.command == "HEAD":
            facts["length"] = str(len(content))
        self._answer(status, content, **facts)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, cut = query.get("prefix", ""), query.get("delimiter", "")
        keys = sorted(
            path.removeprefix(f"/{bucket}/")
            for path in self.server.objects
            if path.startswith(f"/{bucket}/{prefix}")
        )
        folders = {
            prefix + key.removeprefix(prefix).split(cut)[0] + cut
            for key in keys
            if cut and cut in key.removeprefix(prefix)
        }
        found = sorted(folders | {key for key in keys if not any(map(key.startswith, folders))})
        start = int(query.get("continuation-token", "0"))
        some, more = found[start : start + PAGE], start + PAGE < len(found)
        listed = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if name in folders
            else f"<Contents><Key>{escape(name)}</Key><Size>{len(self.server.objects[f'/{bucket}/{name}'])}"
            "</Size><LastModified>2026-11-28T00:00:00Z</LastModified><ETag>1</ETag>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for name in some
        )
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/'
            f'2006-03-01/"><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(some)}'
            f"</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{listed}{token}</ListBucketResult>"
        )
        self._answer(200, body.encode(), Content_Type="application/xml")

    def do_PUT(self) -> None:
        path, query = self._asked()
        content = self._body()
        if self.server.forbidden == "PUT":
            self._forbid()
            return
        if "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = content
        else:
            self.server.objects[path] = content
        self._answer(200, ETag='"1"')

    def do_POST(self) -> None:
        path, query = self._asked()
        self._body()
        if self.server.forbidden == "PUT":
            self._forbid()
            return
        if "uploads" in query:
            name = str(len(self.server.uploads))
            self.server.uploads[name] = {}
            body = (
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            parts = self.server.uploads[query["uploadId"]]
            self.server.objects[path] = b"".join(parts[number] for number in sorted(parts))
            body = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
        self._answer(200, body.encode(), Content_Type="application/xml")
