"""How fast, how careful and how small a fetch is, beside torch.hub and huggingface_hub.

    python benchmarks/store.py [--size 512] [--folder DIR] [--rounds 3] [--kills 200] [--cap 20] [--small]

A server of its own process sends a file with sendfile over loopback, and through TLS where there is openssl
to make a certificate; each library downloads it in a fresh process, imports not counted. torch.hub compares
the sha256, huggingface_hub the size alone, so that its file is hashed after it. Neither waits until the file
is on the disk, as zoo does: a power cut may leave wrong bytes under the right name. So the peer is torch.hub
with an fsync; without it torch.hub is a row of its own. The memory is what a download adds to the process.

The third and fourth tables are about one file over several connections (zoo/store/network/byte_ranges.py),
from a server that gives each connection 20 MB/s and from one that gives all it has; tried at once shows what
a needless try costs. Last come many processes that fetch one model, and processes that are killed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from measuring import ROOT, Disagreement, Goal, Table, Turn, agree, apart, new_parser, race, show
from peers import python_of, version_of

MB = 1e6
Download = Callable[[], str]


# --- the server's process


def serve_file(path: Path, rate: float = 0.0, certificate: Path | None = None) -> None:
    """Answer every GET with the file, every HEAD as the Hub does; print the port, then serve for ever.

    rate: bytes per second that each connection gets; 0 for as many as there are. certificate: for https.
    """
    size, sha256 = path.stat().st_size, hash_of(path)
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    facts = (
        f'ETag: "{sha256}"\r\nX-Linked-Etag: "{sha256}"\r\nX-Linked-Size: {size}\r\n'
        f"X-Repo-Commit: {'c' * 40}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n"
    )

    def answer(client: socket.socket) -> None:
        with client if context is None else context.wrap_socket(client, server_side=True) as client:
            request = b""
            while b"\r\n\r\n" not in request:
                block = client.recv(65536)
                if not block:
                    return
                request += block
            asked = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d*)", request)
            begin = int(asked[1]) if asked else 0
            end = int(asked[2]) + 1 if asked and asked[2] else size
            status = f"206 Part\r\nContent-Range: bytes {begin}-{end - 1}/{size}" if asked else "200 OK"
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {end - begin}\r\n{facts}".encode())
            if request.startswith(b"GET"):
                with path.open("rb") as file, contextlib.suppress(OSError):  # the client has what it wants
                    step, started = int(rate * 0.05) or end - begin, time.monotonic()
                    for place in range(begin, end, step):
                        if rate:
                            time.sleep(max((place - begin) / rate - (time.monotonic() - started), 0.0))
                        send(client, file, place, min(step, end - place))

    def send(client: socket.socket, file: BinaryIO, place: int, count: int) -> None:
        if context is None:
            client.sendfile(file, place, count)
            return
        file.seek(place)
        while count > 0:
            block = file.read(min(count, 1 << 20))
            client.sendall(block)
            count -= len(block)

    while True:
        client, _ = listener.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()


@contextmanager
def running_server(path: Path, rate: float = 0.0, certificate: Path | None = None) -> Iterator[str]:
    command = [sys.executable, __file__, "serve", str(path), str(rate)]
    command += [] if certificate is None else [str(certificate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http{'' if certificate is None else 's'}://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


# --- one download, in its own process: each function prepares it; the work returns the path of the file


def download_ours(url: str, folder: str, sha256: str, *settings: str) -> Download:
    """zoo. settings: names of the store's settings, each with its number."""
    from support.loopback import entry_for

    import zoo.store.network.download
    from zoo.store.settings import Settings
    from zoo.store.store import Store

    _ = zoo.store.network.download
    entry = entry_for(f"{url}/file", sha256=sha256)
    chosen = {name: float(number) for name, number in zip(settings[::2], settings[1::2], strict=True)}
    store = Store(Path(folder), settings=Settings(**chosen))
    return lambda: str(store.fetch(entry).path)


def download_hub(url: str, folder: str, sha256: str) -> Download:
    """hf_hub_download, then the sha256 that it does not compute."""
    os.environ.update(
        HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_OFFLINE="0"
    )
    from huggingface_hub import hf_hub_download

    def run() -> str:
        path = hf_hub_download("owner/net", "file", cache_dir=folder, endpoint=url)
        if hash_of(Path(path)) != sha256:
            raise Disagreement(f"{path} has another sha256")
        return path

    return run


def download_torch(url: str, folder: str, sha256: str) -> Download:
    from torch.hub import download_url_to_file

    path = str(Path(folder) / "file")

    def run() -> str:
        download_url_to_file(f"{url}/file", path, hash_prefix=sha256, progress=False)
        return path

    return run


def download_torch_durably(url: str, folder: str, sha256: str) -> Download:
    """torch.hub, then the fsync without which a power cut may leave wrong bytes under the right name."""
    run = download_torch(url, folder, sha256)

    def run_and_flush() -> str:
        with open(path := run(), "rb") as file:
            os.fsync(file)
        return path

    return run_and_flush


class Way(NamedTuple):
    """work: prepares it. settings: its further arguments. package: whose interpreter runs it."""

    work: Callable[..., Download]
    settings: tuple[object, ...] = ()
    package: str = "torch"


PEER = "torch.hub + fsync"
LIBRARIES = {
    PEER: Way(download_torch_durably),
    "torch.hub": Way(download_torch),
    "hf_hub_download + sha256": Way(download_hub, package="huggingface_hub"),
    "zoo": Way(download_ours),
}
CONNECTIONS = {
    "one connection": Way(download_ours, ("enough", 0)),
    "four, where one is slow": Way(download_ours),
    "four, tried at once": Way(download_ours, ("enough", 1e12, "trial", 0.05)),
}


# --- the tables


@contextmanager
def random_file(folder: Path, megabytes: int) -> Iterator[Path]:
    source = folder / "source"
    with source.open("wb") as file:
        for number in range(megabytes):
            file.write(random.Random(number).randbytes(1 << 20))
    yield source
    source.unlink()


def download(way: Way, url: str, folder: Path, sha256: str, env: dict[str, str]) -> Turn:
    """One turn; its answer is the sha256 of the file that is there afterwards."""
    (target := folder / "target").mkdir()
    python = python_of(way.package)
    turn = apart(way.work, url, target, sha256, *way.settings, beyond=True, python=python, env=env)
    turn = turn._replace(answer=hash_of(Path(turn.answer)))
    shutil.rmtree(target)
    return turn


def compare(
    title: str,
    ways: dict[str, Way],
    source: Path,
    rounds: int,
    rate: float = 0.0,
    certificate: Path | None = None,
    goal: float | None = None,
) -> Table:
    """The table of some ways, which all have to bring the file."""
    sha256 = hash_of(source)
    trust = {} if certificate is None else {"SSL_CERT_FILE": str(certificate)}
    with running_server(source, rate, certificate) as url:
        turns = race(
            {name: partial(download, way, url, source.parent, sha256, trust) for name, way in ways.items()},
            rounds,
        )
    agree(title, turns)
    speeds = {
        name: source.stat().st_size / statistics.median(turn.seconds for turn in found) / MB
        for name, found in turns.items()
    }
    said = {name: f"{speed:.0f} MB/s, same sha256" for name, speed in speeds.items()}
    goals = {} if goal is None else {"zoo": Goal(goal)}
    return Table(title, turns, said, goals, memory="added")


def tables(options: argparse.Namespace, folder: Path) -> Iterator[Table]:
    """Downloads, and connections."""
    size, rounds = (4, 1) if options.small else (options.size, options.rounds)
    libraries = {name: LIBRARIES[name] for name in LIBRARIES if not options.small or name != "torch.hub"}
    with random_file(folder, size) as source:
        yield compare(f"Download of {size} MiB over http", libraries, source, rounds, goal=1.8)
        if certificate := make_certificate(folder):
            ways = {name: LIBRARIES[name] for name in (PEER, "zoo")}
            title = f"Download of {size} MiB over https"
            yield compare(title, ways, source, rounds, certificate=certificate, goal=1.0)
    if options.cap and not options.small:
        with random_file(folder, size // 2) as source:
            for server, rate in (
                (f"{options.cap:.0f} MB/s per connection", options.cap * MB),
                ("no limit", 0),
            ):
                yield compare(f"{size // 2} MiB in parts, {server}", CONNECTIONS, source, 1, rate)


def make_certificate(folder: Path) -> Path | None:
    """A key and a certificate for 127.0.0.1 in one file; None where there is no openssl to make it."""
    path = folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {path}.new"
    if shutil.which("openssl") is None:
        return None
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.new").read_text())
    return path


def count_requests(folder: Path, processes: int = 64) -> str:
    from support.forks import Forks
    from support.loopback import BODY, Server, slowly

    server = Server()
    url = server.add("/net", BODY, slowly(1.0))
    with Forks() as forks:
        started = time.perf_counter()
        pids = [forks.start(home=str(folder / "many"), url=url) for _ in range(processes)]
        fetched = sum(forks.wait(pid)[0] == "fetched" for pid in pids)
        seconds = time.perf_counter() - started
    return (
        f"| {processes} processes fetch one model of 1 s at once "
        f"| {len(server.log)} request, {fetched} successes, {seconds:.1f} s |"
    )


def count_wrong_files(folder: Path, kills: int) -> str:
    from support.forks import Forks
    from support.loopback import BODY, Server, entry_for, find_wrong_blobs, leftovers, slowly

    from zoo.store.store import Store

    server, home, moments = Server(), folder / "killed", random.Random(4)
    wrong = unfinished = most = 0
    with Forks() as forks:
        for _ in range(kills):
            url = server.add("/net", BODY, slowly(0.05, blocks=20))
            pids = [forks.start(home=str(home), url=url) for _ in range(3)]
            time.sleep(moments.uniform(0.0, 0.08))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                forks.wait(pid)
            wrong += len(find_wrong_blobs(home))
            most = max(most, len(leftovers(home)))
            server.plans["/net"] = []
            unfinished += forks.wait(forks.start(home=str(home), url=url))[0] != "fetched"
            Store(home).remove(entry_for(url))
    return (
        f"| kill -9 of 3 processes at {kills} moments | {wrong} wrong files, at most {most} partial, "
        f"{kills - unfinished} of {kills} completed next time |"
    )


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = new_parser(__doc__, rounds=3)
    parser.add_argument("--size", type=int, default=512, help="MiB to download")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cap", type=float, default=20.0, help="MB/s per connection; 0 leaves that out")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    hub = version_of("huggingface_hub", python_of("huggingface_hub"))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        show(tables(options, folder), options, "torch", huggingface_hub=hub)
        if not options.small:
            print("\n| under load | |\n|---|---|")
            print(count_requests(folder), flush=True)
            print(count_wrong_files(folder, options.kills))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    match sys.argv[1:]:
        case ["serve", path, rate, *certificate]:
            serve_file(Path(path), float(rate), *map(Path, certificate))
        case _:
            main()
