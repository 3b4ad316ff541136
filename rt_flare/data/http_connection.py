"""Connections to HTTP servers, through the proxy that the environment names where it names one."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from urllib.parse import SplitResult, urlsplit

from rt_flare.errors import ConfigError

__all__ = ["connect", "request_path", "request_target"]


def connect(url: SplitResult, timeout_seconds: float) -> http.client.HTTPConnection:
    """Return a connection to the server of ``url``, opened by its first request.

    ``https_proxy``, ``http_proxy`` and ``no_proxy`` count as they do for Python's own `urllib.request`; TLS trusts
    the system's certificates, or those of SSL_CERT_FILE.

    Raises:
        ConfigError: the proxy's address cannot be used.
    """
    proxy = _proxy(url)
    https = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if https else 80)
    via_host, via_port = (host, port) if proxy is None else proxy
    if not https:
        return http.client.HTTPConnection(via_host, via_port, timeout=timeout_seconds)
    connection = http.client.HTTPSConnection(
        via_host, via_port, timeout=timeout_seconds, context=ssl.create_default_context()
    )
    if proxy is not None:
        connection.set_tunnel(host, port)
    return connection


def request_target(url: SplitResult) -> str:
    """Return what stands in the request line: a path, or the whole URL where a proxy forwards plain HTTP."""
    if url.scheme == "http" and _proxy(url) is not None:
        return url._replace(fragment="").geturl()
    return request_path(url)


def request_path(url: SplitResult) -> str:
    """Return path and query, as a server is asked for them."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _proxy(url: SplitResult) -> tuple[str, int] | None:
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname or parts.username:
        raise ConfigError(
            f"{url.scheme}_proxy: expected http://host:port without a user, found one of another form. Correct it, or "
            f"name the storage's host in no_proxy."
        )
    return parts.hostname, parts.port or 80
