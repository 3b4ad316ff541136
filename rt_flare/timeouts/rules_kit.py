"""Checks of startup kits: B25 to B27, B29, B34, B47."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rt_flare.timeouts.finding import Facts, Finding, Severity
from rt_flare.timeouts.kit_files import KitFiles
from rt_flare.timeouts.lint_view import COMMUNICATION_TIMEOUT, number
from rt_flare.timeouts.rules_order import MARGIN_SECONDS
from rt_flare.timeouts.stall_guard import MONITOR_TICK_SECONDS, close_window

__all__ = ["STALL_SCHEMES", "check_kit", "check_kits_together"]

STALL_SCHEMES = frozenset({"tcp", "stcp"})
"""Transports whose sends can stall as NVFlare sees it: the others hand a frame to a queue and return."""

_FRAME_BYTES = 1 << 20
_MAX_NUM_CLIENTS = 100
_BEAT_SECONDS, _BEAT_TIMEOUT = 10.0, 600.0


def check_kit(kit: KitFiles, facts: Facts) -> Iterator[Finding]:
    """One kit."""
    yield from _stall_guard(kit)
    comm, interval = kit.comm or {}, number((kit.comm or {}).get("heartbeat_interval"))
    if interval is not None and 0 < interval < MONITOR_TICK_SECONDS:
        message = f"NVFlare looks at its connections every {MONITOR_TICK_SECONDS} s: more often is not possible"
        yield Finding("B27", Severity.WARNING, kit.comm_file, "heartbeat_interval", interval, "5 or more", message)
    if comm and kit.comm_file.name.endswith(".default"):
        message = "a file with this ending counts only as long as there is no comm_config.json beside it"
        yield Finding("B47", Severity.INFO, kit.comm_file, "", kit.comm_file.name, "comm_config.json", message)
    most = number(kit.server_entry.get("max_num_clients")) or _MAX_NUM_CLIENTS
    if kit.role == "server" and facts.num_sites is not None and facts.num_sites > most:
        message = f"the registration of site {most + 1:g} is refused"
        key = "servers[0].max_num_clients"
        yield Finding("B29", Severity.ERROR, kit.resources_file, key, most, f"{facts.num_sites} or more", message)


def check_kits_together(kits: Sequence[KitFiles], facts: Facts) -> Iterator[Finding]:
    """The server's kit against those of the sites; a missing one counts with NVFlare's defaults."""
    servers = [kit for kit in kits if kit.role == "server"]
    clients = [kit for kit in kits if kit.role == "client"]
    for server in servers:
        timeout = number(server.server_entry.get("heart_beat_timeout")) or _BEAT_TIMEOUT
        beats = [_beat(kit) for kit in clients] or [_BEAT_SECONDS]
        if max(beats) >= timeout:
            message = f"a site that beats every {max(beats):g} s is dropped between two beats"
            key, expected = "servers[0].heart_beat_timeout", f"more than {max(beats):g}, better three times that"
            yield Finding("B34", Severity.ERROR, server.resources_file, key, timeout, expected, message)


def _beat(kit: KitFiles) -> float:
    try:
        return float(kit.start_options.get("heart_beat_interval", _BEAT_SECONDS))
    except ValueError:
        return _BEAT_SECONDS


def _stall_guard(kit: KitFiles) -> Iterator[Finding]:
    comm = kit.comm or {}
    guard = [key for key in comm if key.startswith("sfm_")]
    stall = number(comm.get("sfm_send_stall_timeout")) or 45.0
    checks = int(number(comm.get("sfm_send_stall_consecutive_checks")) or 3)
    closes, chunk = bool(comm.get("sfm_close_stalled_connection")), number(comm.get("streaming_chunk_size"))
    large_frames = chunk is not None and chunk > _FRAME_BYTES
    window = close_window(stall, checks)
    if guard and kit.scheme not in STALL_SCHEMES:
        message = f"without effect: a send over {kit.scheme} never blocks, so no stall is ever seen; it works with tcp"
        yield Finding("B25", Severity.WARNING, kit.comm_file, guard[0], comm[guard[0]], "scheme tcp", message)
    elif guard and not large_frames and (number(comm.get("streaming_send_timeout")) or 30.0) <= window.latest:
        message = f"streaming_send_timeout closes the connection before the guard does, which needs {window}"
        expected = f"streaming_send_timeout above {window.latest:g}"
        found = number(comm.get("streaming_send_timeout")) or 30.0
        yield Finding("B25", Severity.WARNING, kit.comm_file, "streaming_send_timeout", found, expected, message)
    elif large_frames and kit.scheme in STALL_SCHEMES and not closes:
        message = "frames above 1 MiB pass by streaming_send_timeout: a stalled send then blocks for ever"
        expected = "sfm_close_stalled_connection true, or streaming_chunk_size 1048576"
        yield Finding("B25b", Severity.WARNING, kit.comm_file, "streaming_chunk_size", chunk, expected, message)
    if closes and kit.role == "client":
        outer = number(kit.client_section.get("communication_timeout")) or COMMUNICATION_TIMEOUT
        needed = window.latest + MARGIN_SECONDS
        if outer <= needed:
            message = f"a stalled connection is closed after {window}: every request has given up before"
            key = "client.communication_timeout" if "communication_timeout" in kit.client_section else guard[0]
            file = kit.resources_file if key.startswith("client.") else kit.comm_file
            yield Finding("B26", Severity.WARNING, file, key, outer, f"more than {needed:g}", message)
