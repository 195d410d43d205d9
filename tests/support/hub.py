"""A Hub of one repository on the loopback server: its API, its files, its redirects to another host."""

from __future__ import annotations

import hashlib
import json

from support.loopback import Handler, Server, answer

COMMIT = "c0ffee" * 6 + "c0ff"
CONFIG = {
    "architecture": "resnet18",
    "num_classes": 3,
    "num_features": 512,
    "label_names": ["ant", "bee", "cat"],
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 288, 288],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "num_classes": 1000,
    },
}


class Hub:
    """A Hub of one repository, OWNER/net, on a loopback server. The files are redirected to another host."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url
        self.cdn = server.url.replace("127.0.0.1", "localhost")

    def publish(self, files: dict[str, bytes], *, tags: tuple[str, ...] = ()) -> None:
        siblings = [
            {
                "rfilename": name,
                "size": len(body),
                "lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130},
            }
            for name, body in files.items()
        ]
        info = {
            "id": "owner/net",
            "sha": COMMIT,
            "siblings": siblings,
            "cardData": {"license": "mit"},
            "tags": ["timm", "license:mit", *tags],
            "library_name": "timm",
            "safetensors": {"parameters": {"F32": 11689512}, "total": 11689512},
        }
        for path in ("", "/revision/main", "/revision/v1.0", f"/revision/{COMMIT}"):
            self.server.add(f"/api/models/owner/net{path}", json.dumps(info).encode())
        for name, body in files.items():
            cdn = self.server.add(f"/cdn/{name}", body).replace("127.0.0.1", "localhost")
            for revision in ("main", COMMIT, "v1.0"):
                self.server.add(f"/owner/net/resolve/{revision}/{name}", body, self.redirect(body, cdn))

    @staticmethod
    def redirect(body: bytes, location: str) -> Handler:
        sha256 = hashlib.sha256(body).hexdigest()
        facts = {"X_Repo_Commit": COMMIT, "X_Linked_Etag": f'"{sha256}"', "X_Linked_Size": len(body)}
        return answer(302, Location=location, **facts)
