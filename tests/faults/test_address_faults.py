"""Rows D13, D14 and D21: where a fetch may connect to, and where it never does."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import write_registry
from support.loopback import BODY, SHA256, Server, answer, entry_for, unproven

from zoo.catalogue.registry import load_registry
from zoo.errors import AddressRefused, DownloadFailed, Offline, SourceMissing, UsageError
from zoo.store.fetching_many import plan_fetch
from zoo.store.network.connection import _trusted
from zoo.store.store import Store, open_store
from zoo.store.upkeep.verification import verify_store
from zoo.targets import fetch_model


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with a certificate for 127.0.0.1 and models.example that this test alone trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:models.example"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
        f" -addext {names} -keyout {key.name} -out {certificate.name}".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _trusted.cache_clear()
    server = Server(context=context)
    yield server
    server.close()
    _trusted.cache_clear()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection that is tried, none of which is made."""
    tried: list[object] = []

    def connect(address: object, *args: object, **kwargs: object) -> socket.socket:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def test_a_file_comes_over_https(tls_server: Server, store: Store) -> None:
    assert store.fetch(entry_for(tls_server.add("/net", BODY))).sha256 == SHA256


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    _trusted.cache_clear()
    with pytest.raises(DownloadFailed, match="certificate is not trusted") as raised:
        store.fetch(entry_for(tls_server.add("/net", BODY)))
    assert "SSL_CERT_FILE" in str(raised.value.hint)
    assert (tls_server.connections, tls_server.log) == (1, [])


@pytest.mark.fault("D13")
def test_a_redirect_loop_stops_at_ten(server: Server, store: Store) -> None:
    url = server.add("/net", BODY, answer(302, Location="/net"))
    with pytest.raises(DownloadFailed, match="more than 10 times"):
        store.fetch(entry_for(url))
    assert len(server.log) == 11


@pytest.mark.fault("D13")
def test_nine_redirects_are_followed(server: Server, store: Store) -> None:
    for number in range(9):
        server.add(f"/{number}", b"", answer(301, Location=f"/{number + 1}"))
    server.add("/9", BODY)
    assert store.fetch(entry_for(server.url + "/0")).sha256 == SHA256


@pytest.mark.fault("D13")
def test_a_redirect_from_https_to_http_is_refused(tls_server: Server, server: Server, store: Store) -> None:
    target = server.add("/net", BODY)
    with pytest.raises(AddressRefused, match="from https to plain http"):
        store.fetch(entry_for(tls_server.add("/net", BODY, answer(302, Location=target))))
    assert server.connections == 0


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://example.com/x", "http://169.254.169.254/x", "http://10.0.0.1/", "gopher:x"],
)
def test_a_redirect_to_what_is_never_opened_is_refused(server: Server, store: Store, target: str) -> None:
    with pytest.raises(AddressRefused):
        store.fetch(entry_for(server.add("/net", BODY, answer(302, Location=target))))
    assert len(server.log) == 1


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://example.com/net",
        "https://10.0.0.1/net",
        "https://192.168.1.1/net",
        "https://[fd00::1]/net",
        "https://[::ffff:10.0.0.1]/net",
        "https://0x0a000001/net",
        "https://2852039166/net",
        "https://0/net",
        "https://100.64.0.1/net",
        "https://user:secret@example.com/net",
        "https:///net",
        "https://exa mple.com/net",
        "https://example.com:99999/net",
        "ftp://example.com/net",
    ],
)
def test_an_address_that_is_never_opened_is_refused_before_any_connection(
    store: Store, nowhere: list[object], url: str
) -> None:
    with pytest.raises(AddressRefused) as raised:
        store.fetch(entry_for(url))
    assert nowhere == []
    assert "secret" not in str(raised.value)
    assert raised.value.exit_code == 4


@pytest.mark.fault("D14")
def test_a_name_that_leads_into_a_private_network_is_refused(
    store: Store, nowhere: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", ("140.82.121.4", port)), (2, 1, 6, "", ("10.1.2.3", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(AddressRefused, match=r"10\.1\.2\.3, an address on a private network"):
        store.fetch(entry_for("https://models.example/net"))
    assert nowhere == []
    monkeypatch.setenv("ZOO_ALLOW_HOST", "other.example, models.example")
    with pytest.raises(DownloadFailed, match="no network in this test"):
        store.fetch(entry_for("https://models.example/net"))
    assert nowhere, "the user allowed this host"


@pytest.mark.fault("D14")
def test_what_was_checked_is_what_is_connected_to(
    store: Store, nowhere: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("140.82.121.4", 443))])
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for("https://models.example/net"))
    assert set(nowhere) == {("140.82.121.4", 443)}, "the name is not looked up a second time"


@pytest.mark.fault("D21")
@pytest.mark.parametrize("variable", ["ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_what_is_here_works(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    here = entry_for(server.add("/net", BODY))
    store.fetch(here)
    asked = server.connections
    monkeypatch.setenv(variable, "1")
    offline = open_store()
    assert offline.fetch(here).sha256 == SHA256
    for url in (server.add("/other", BODY[::-1]), "hf://owner/net/x", "gensim://glove"):
        with pytest.raises(Offline, match="offline mode is on") as raised:
            offline.fetch(entry_for(url, md5="0" * 32))
        assert raised.value.exit_code == 4
    assert [v.state for v in verify_store(offline, [here])] == ["whole"]
    assert server.connections == asked


@pytest.mark.fault("D21")
def test_offline_a_mirror_list_falls_through_to_what_is_on_this_machine(
    server: Server, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").write_bytes(BODY)
    entry = entry_for(server.add("/net", BODY), (tmp_path / "copy").as_uri())
    assert Store(home, offline=True).fetch(entry).sha256 == SHA256
    assert server.connections == 0


@pytest.mark.fault("D14")
def test_a_bundle_in_a_shared_folder_names_no_file_of_this_machine_and_ones_own_registry_may(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.bin").write_bytes(BODY)
    entry = entry_for((tmp_path / "net.bin").as_uri())
    lab = tmp_path / "lab"
    (lab / "registries").mkdir(parents=True)
    write_registry(lab / "registries" / "x.yaml", entry)
    with pytest.raises(AddressRefused, match="a registry from elsewhere"):
        fetch_model("net", store=Store(home, shared=(lab,)))
    monkeypatch.chdir(tmp_path)
    mine = load_registry([write_registry(tmp_path / "r.yaml", entry)])
    assert Store(tmp_path).fetch(mine["net"]).path.read_bytes() == BODY  # a store around the registry


def test_a_place_on_this_machine_that_is_gone_is_passed_over(
    server: Server, store: Store, tmp_path: Path
) -> None:
    gone = (tmp_path / "gone").as_uri()
    entry = entry_for(gone, "package://zoo/no-such-file", server.add("/net", BODY))
    assert [(p.action, p.bytes) for p in plan_fetch(store, [entry])] == [("download", None)]
    assert store.fetch(entry).path.read_bytes() == BODY
    (planned,) = plan_fetch(store, [unproven((tmp_path / "other-gone").as_uri())])
    assert isinstance(planned.error, SourceMissing)
    with pytest.raises(SourceMissing, match="gone is missing"):
        store.fetch(unproven((tmp_path / "other-gone").as_uri()))


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    "target",
    [
        "http://[bad/x",
        f"https://{'a' * 70}.com/x",
        "https://a..b.com/x",
        f"https://{'ü' * 70}.com/x",
        "https://h:9x/",
    ],
)
def test_a_redirect_to_no_address_is_refused_and_the_next_place_is_asked(
    server: Server, store: Store, target: str
) -> None:
    bad, good = server.add("/bad", BODY, *[answer(302, Location=target)] * 4), server.add("/good", BODY)
    with pytest.raises(AddressRefused):
        store.fetch(entry_for(bad))
    assert store.fetch(entry_for(bad, good)).path.read_bytes() == BODY


@pytest.mark.parametrize("proxy", ["http://proxy:abc", "http://[bad", "http://"])
def test_a_proxy_that_is_none_is_named(store: Store, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageError, match="HTTPS_PROXY"):
        store.fetch(entry_for("https://93.184.215.14/net"))


def test_a_proxy_that_is_dead_and_certificates_that_are_missing_are_named(
    tls_server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tls_server.add("/net", BODY)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    _trusted.cache_clear()
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE: .*none\.pem contains no certificates"):
        store.fetch(entry_for(f"https://127.0.0.1:{tls_server.port}/net"))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(
        DownloadFailed, match=r"the proxy 127\.0\.0\.1:9 cannot be reached: Connection refused"
    ):
        store.fetch(entry_for("https://93.184.215.14/net"))


def test_a_proxy_sees_the_name_and_gets_the_credentials_of_its_url(
    tls_server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_server.add("/net", BODY)
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def proxy() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", tls_server.port)) as upstream:
            heard.append(client.recv(65536))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upwards = threading.Thread(target=pump, args=(client, upstream), daemon=True)
            upwards.start()
            pump(upstream, client)
            upwards.join(10)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=proxy, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}")
    assert store.fetch(entry_for("https://models.example/net")).sha256 == SHA256
    assert heard[0].startswith(b"CONNECT models.example:443 ")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in heard[0]
    listener.close()
