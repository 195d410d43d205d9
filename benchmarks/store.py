"""How fast, how careful and how small a fetch is: the figures of docs/figures.md, made anew on this machine.

    python benchmarks/store.py [--size 512] [--folder DIR] [--rounds 3] [--kills 200] [--cap 20]

A server of its own process sends a file with sendfile over loopback; each library downloads it in a fresh
process, imports not counted, the best round taken. "Verified" means that the sha256 was compared: torch.hub
compares the first 8 digits where a file name has them, huggingface_hub compares the size. Neither waits until
the file is on the disk, as zoo does: one row says what that costs torch.hub.

The second table is about one file over several connections (zoo/store/network/byte_ranges.py), from a server
that gives each connection 20 MB/s and from one that gives all it has; tried at once shows what a needless try
costs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[1]
MB = 1e6


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


# --- one download, in its own process


def download_ours(url: str, folder: Path, sha256: str, **settings: float) -> Callable[[], object]:
    from support.loopback import entry_for

    import zoo.store.network.download
    from zoo.store.settings import Settings
    from zoo.store.store import Store

    _ = zoo.store.network.download
    entry = entry_for(f"{url}/file", sha256=sha256)
    return lambda: Store(folder, settings=Settings(**settings)).fetch(entry)


def download_hub(url: str, folder: Path, sha256: str) -> Callable[[], object]:
    """hf_hub_download, then the sha256 that it does not compute."""
    os.environ.update(
        HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_OFFLINE="0"
    )
    from huggingface_hub import hf_hub_download

    def run() -> None:
        path = hf_hub_download("owner/net", "file", cache_dir=folder, endpoint=url)
        assert hash_of(Path(path)) == sha256

    return run


def download_torch(url: str, folder: Path, sha256: str) -> Callable[[], object]:
    from torch.hub import download_url_to_file

    return lambda: download_url_to_file(
        f"{url}/file", str(folder / "file"), hash_prefix=sha256, progress=False
    )


def download_torch_durably(url: str, folder: Path, sha256: str) -> Callable[[], object]:
    """torch.hub, then the fsync without which a power cut may leave wrong bytes under the right name."""
    run = download_torch(url, folder, sha256)

    def run_and_flush() -> None:
        run()
        with (folder / "file").open("rb") as file:
            os.fsync(file)

    return run_and_flush


LIBRARIES = {
    "zoo": download_ours,
    "hf_hub_download + sha256": download_hub,
    "torch.hub.download_url_to_file": download_torch,
    "torch.hub.download_url_to_file + fsync": download_torch_durably,
}


CONNECTIONS = {
    "one connection": partial(download_ours, enough=0.0),
    "four, where one is slow": download_ours,
    "four, tried at once": partial(download_ours, enough=1e12, trial=0.05),
}


def measure_one(name: str, url: str, folder: Path, sha256: str) -> None:
    """Print seconds, processor seconds and the growth of the peak memory of one download."""
    run = (LIBRARIES | CONNECTIONS)[name](url, folder, sha256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    processor, started = time.process_time(), time.perf_counter()
    run()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"seconds": seconds, "processor": processor, "grown": grown}))


# --- the table


@contextmanager
def random_file(folder: Path, megabytes: int) -> Iterator[Path]:
    source = folder / "source"
    with source.open("wb") as file:
        for number in range(megabytes):
            file.write(random.Random(number).randbytes(1 << 20))
    yield source
    source.unlink()


def best_of(
    names: Iterable[str], source: Path, rounds: int, rate: float = 0.0, certificate: Path | None = None
) -> dict[str, dict[str, float]]:
    """The fastest of some rounds for each way to download a file, all of them in each round."""
    sha256, target = hash_of(source), source.parent / "target"
    best: dict[str, dict[str, float]] = {}
    trust = {} if certificate is None else {"SSL_CERT_FILE": str(certificate)}
    with running_server(source, rate, certificate) as url:
        for _, name in itertools.product(range(rounds), names):
            target.mkdir()
            command = [sys.executable, __file__, "one", name, url, str(target), sha256]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | trust
            )
            result = json.loads(done.stdout)
            shutil.rmtree(target)
            if name not in best or result["seconds"] < best[name]["seconds"]:
                best[name] = result
    return best


def compare_connections(folder: Path, megabytes: int, rounds: int, cap: float) -> list[str]:
    lines = [f"| {megabytes} MiB, one file | server | MB/s | peak memory + |", "|---|---|---|---|"]
    with random_file(folder, megabytes) as source:
        for server, rate in ((f"{cap:.0f} MB/s per connection", cap * MB), ("as fast as it can", 0.0)):
            for name, result in best_of(CONNECTIONS, source, rounds, rate).items():
                speed = source.stat().st_size / result["seconds"] / MB
                lines.append(f"| {name} | {server} | {speed:.0f} | {result['grown'] / MB:.0f} MB |")
    return lines


def compare_downloads(folder: Path, megabytes: int, rounds: int) -> list[str]:
    lines = [
        f"| download of {megabytes} MiB | over | MB/s | processor s | peak memory + | zoo is |",
        "|---|---|---|---|---|---|",
    ]
    with random_file(folder, megabytes) as source:
        size = source.stat().st_size
        found = {"http": best_of(LIBRARIES, source, rounds)}
        if certificate := make_certificate(folder):
            found["https"] = best_of(
                ("zoo", "torch.hub.download_url_to_file"), source, rounds, certificate=certificate
            )
    for over, best in found.items():
        for name, result in best.items():
            ratio = result["seconds"] / best["zoo"]["seconds"]
            lines.append(
                f"| {name} | {over} | {size / result['seconds'] / MB:.0f} | {result['processor']:.2f} "
                f"| {result['grown'] / MB:.0f} MB | {ratio:.1f} × as fast |"
            )
    return lines


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="MiB to download")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cap", type=float, default=20.0, help="MB/s per connection; 0 leaves that out")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print("\n".join(compare_downloads(folder, options.size, options.rounds)), flush=True)
        if options.cap:
            print("\n" + "\n".join(compare_connections(folder, options.size // 2, 1, options.cap)))
        print("\n| under load | |\n|---|---|")
        print(count_requests(folder), flush=True)
        print(count_wrong_files(folder, options.kills))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    match sys.argv[1:]:
        case ["serve", path, rate, *certificate]:
            serve_file(Path(path), float(rate), *map(Path, certificate))
        case ["one", name, url, folder, sha256]:
            measure_one(name, url, Path(folder), sha256)
        case _:
            main()
