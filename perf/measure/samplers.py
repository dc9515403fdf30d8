"""One sample of each kind: a fresh server, one load, the figures. All that measures goes through here.

A sample is described by a Work: the client's mode and options, and what the server needs."""

import contextlib
import dataclasses
import pathlib
import resource
import struct
import tempfile

import callgrind
import harness

CLIENT_CONNECTIONS = 16_000  # idle: of one client; more need further ones, for want of descriptors
FIRST_CONNECTIONS = 16  # idle: opened and closed before the first reading, so code pages are in


@dataclasses.dataclass(frozen=True)
class Work:
    """What is asked of a server: `mode` and `options` are perf_client's."""
    mode: str = "echo"
    options: dict = dataclasses.field(default_factory=dict)
    upstream: str = ""  # the command of what a proxy carries on to
    measures_memory: bool = False  # what the server has more at the end of the load than before


def sample_load(work, client, place, name, command, duration_ms, warmup_ms):
    """Server CPU per request, latencies and throughput over a time."""
    with harness.running(name, command, place, work.upstream) as server:
        before = server.settled_rss_bytes() if work.measures_memory else 0
        figures = client.run(work.mode, server, **work.options, warmup=warmup_ms,
                             duration_ms=duration_ms, pid=server.pid)
        if work.measures_memory:
            figures["grown_bytes"] = server.settled_rss_bytes() - before
        return figures


def sample_syscalls(work, client, place, name, command, requests):
    """The server's system calls per request, counted by the kernel."""
    with harness.running(name, command, place, work.upstream) as server:
        return client.run(work.mode, server, **work.options, warmup=max(1, requests // 10),
                          requests=requests, pid=server.pid, syscalls=True)


def _per_request(count, requests):
    """2 N requests less N: start-up, connects and the end are in both counts and drop out."""
    once, twice = count(requests), count(2 * requests)
    return [(more - less) / requests for less, more in zip(once, twice)]


def sample_callgrind(work, client, place, name, command, requests):
    """The server's user instructions per request."""
    def count(number):
        return [callgrind.count_instructions(
            name, command, place,
            lambda server: client.run(work.mode, server, **work.options, requests=number),
            work.upstream)]
    return {"requests": requests, "server_instructions": _per_request(count, requests)[0]}


def sample_heap(work, client, place, name, command, requests):
    """The server's heap allocations, and the bytes that its calls of memcpy and memmove have copied, per request."""
    library = client.folder / "libcount_heap.so"
    if not library.exists():
        raise harness.MeasureError(f"{library} is not built")

    def count(number):
        with tempfile.TemporaryDirectory() as folder:
            counters = pathlib.Path(folder, "counters")
            counters.write_bytes(bytes(16))
            environment = {"LD_PRELOAD": str(library), "COUNT_HEAP_IN": str(counters)}
            with harness.running(name, command, place, work.upstream, environment=environment) as server:
                client.run(work.mode, server, **work.options, requests=number)
                server.wait_until_asleep()
                return struct.unpack("QQ", counters.read_bytes())
    allocations, copied = _per_request(count, requests)
    return {"requests": requests, "heap_allocations": allocations, "copied_bytes": copied}


def sample_idle(work, client, place, name, command):
    """Resident memory that each idle connection adds."""
    options = {"size": 64, **work.options}
    with harness.running(name, command, place, work.upstream) as server:
        with client.holding(server, **{**options, "connections": FIRST_CONNECTIONS}):
            pass
        before = server.settled_rss_bytes()
        with contextlib.ExitStack() as clients:
            for first in range(0, options["connections"], CLIENT_CONNECTIONS):
                count = min(CLIENT_CONNECTIONS, options["connections"] - first)
                clients.enter_context(client.holding(server, **{**options, "connections": count, "first": first}))
            during = server.settled_rss_bytes()
        after = server.settled_rss_bytes()
    return {"before_bytes": before, "during_bytes": during, "kept_bytes": after - before,
            "bytes_per_connection": (during - before) / options["connections"]}


def why_no_descriptors(count, command=""):
    """None if a server, started by `command`, can have `count` connections, else the reason why not."""
    if "--direct" in command.split():
        return None  # its sockets are in a table of the ring
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or count + 64 <= hard:
        return None
    return f"{count} connections need more descriptors than this machine's limit of {hard} (ulimit -Hn)"
