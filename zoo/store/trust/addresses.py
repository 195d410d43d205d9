"""The addresses that may be opened: an entry of a registry must not reach into a private network.

https to public hosts, plain http to this machine only (mirrors, tests), anything else only for hosts that
$ZOO_ALLOW_HOST names. The connection is made to the very IP address that was checked: the name is not
resolved twice.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from zoo.catalogue.schemes import allowed_hosts
from zoo.errors import AddressRefused

# Proxies that route by name (Clash, Surge) resolve every name to an address of this test range.
FAKE = ipaddress.ip_network("198.18.0.0/15")
PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Address:
    """A parsed URL. target: path and query, as in the request line."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """The scope of a token."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The whole URL."""
        port = "" if PORTS[self.scheme] == self.port else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.target}"

    def __str__(self) -> str:
        """For messages: without the query, where signed links carry secrets."""
        return self.url.partition("?")[0]


def parse_address(url: str) -> Address:
    """The parts of a URL. Raises AddressRefused unless it is plain https or http to a named host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise AddressRefused(f"{url} is refused: only https:// is opened", hint="Give an https:// address.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            f"an address with a password in it is refused ({parts.scheme}://…@{parts.hostname})",
            hint="A token for the Hub goes into HF_TOKEN.",
        )
    if any(ord(letter) < 33 or ord(letter) == 127 for letter in url):
        raise AddressRefused(f"{url!r} is refused: it contains a space or a control character")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:  # checks plain names too: no label may be empty or longer than 63 letters
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    except UnicodeError as error:
        raise AddressRefused(f"{url!r} is refused: {parts.hostname} is not a host name ({error})") from None
    return Address(parts.scheme, host, port or PORTS[parts.scheme], _quote_target(target))


def check_address(address: Address, *, resolve: bool = True) -> tuple[str, ...]:
    """The IP addresses to connect to. Raises AddressRefused if they may not be opened.

    resolve: False behind a proxy, which resolves the name itself; then only literal addresses are checked.
    Raises OSError if the name cannot be resolved.
    """
    literal = _parse_ip(address.host)
    here = address.host == "localhost" or (literal is not None and literal.is_loopback)
    allowed = _is_allowed(address)
    if address.scheme == "http" and not here and not allowed:
        raise AddressRefused(
            f"{address} is refused: plain http, which anyone on the network can change",
            hint=f"Use https://, or allow this host: ZOO_ALLOW_HOST={address.host}",
        )
    if literal is None and not resolve:
        return ()
    found = (
        (str(literal),)
        if literal is not None
        else tuple(
            dict.fromkeys(
                str(info[4][0])
                for info in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            )
        )
    )
    if not here and not allowed:
        for ip in found:
            if not _is_public(ip):
                raise AddressRefused(
                    f"{address} is refused: {address.host} is {ip}, an address on a private network",
                    hint=f"If you trust it: ZOO_ALLOW_HOST={address.host}",
                )
    return found


def _is_allowed(address: Address) -> bool:
    """Whether $ZOO_ALLOW_HOST names this host."""
    return bool({address.host.lower(), f"{address.host}:{address.port}".lower()} & allowed_hosts())


def _is_public(ip: str) -> bool:
    """Whether an IP address belongs to the public internet.

    >>> [_is_public(ip) for ip in ("140.82.121.4", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")]
    [True, False, False, False]
    """
    found = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in ipaddress.ip_network("64:ff9b::/96"):  # IPv4 behind NAT64
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
    return (found.is_global and not found.is_multicast) or found in FAKE


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is written as, also in old short and numeric forms (`127.1`, `0x7f1`)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except OSError:
        return None


def _quote_target(target: str) -> str:
    """Path and query with what a request line must not contain escaped; existing escapes stay."""
    from urllib.parse import quote

    return quote(target, safe="/:?#[]@!$&'()*+,;=%~-._")
