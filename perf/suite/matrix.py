"""The cells: what is asked of the servers, how it is counted, and what must be reached. Nothing here runs.

The core cells are the thirteen that --quick and comparisons use; the rest is measured by --full."""

import dataclasses

import samplers

MAIN = ("raw_epoll", "raw_epoll_et", "raw_uring_oneshot", "raw_uring_plain", "raw_uring_multi", "raw_splice",
        "libuv", "libuv_gathered", "asio_coro", "asio_coro_gathered",
        "weir_epoll", "weir_uring", "weir_epoll_2", "weir_uring_2")  # ratios are claimed of these: they get every round
QUICK = ("raw_epoll", "raw_uring_multi", "raw_splice", "libuv", "asio_coro", "weir_epoll", "weir_uring")

# What weir on each interface is compared with: the best of the first that was measured there.
RAW = {"weir_epoll": ("raw_epoll", "raw_epoll_et", "raw_splice"),
       "weir_uring": ("raw_uring_oneshot", "raw_uring_plain", "raw_uring_multi")}
OPPONENTS = ("raw", "libuv", "asio_coro")
SUBJECTS = ("weir_epoll", "weir_uring")

CPU = "server_cpu_us"
MEMORY = "bytes_per_connection"
FIGURE_TITLES = {
    CPU: "server CPU µs per request", MEMORY: "bytes per idle connection", "server_syscalls": "system calls per request",
    "server_instructions": "user instructions per request", "heap_allocations": "heap allocations per request",
    "copied_bytes": "bytes copied per request", "requests_per_second": "requests/s", "p50_us": "p50 µs",
    "p99_us": "p99 µs", "p999_us": "p99.9 µs", "client_cpu_us": "client CPU µs per request",
    "grown_bytes": "memory grown, bytes",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    name: str
    title: str
    kind: str  # of server, in perf/measure/servers.json
    mode: str  # of perf_client
    options: dict
    group: str
    is_core: bool = False
    figure: str = CPU  # the one that servers are compared by
    counted: int = 0  # requests in which system calls, allocations and copies are counted; 0: they are not
    instructions: int = 0  # requests under callgrind; 0: not run
    bounds: dict = dataclasses.field(default_factory=dict)  # opponent: the greatest ratio
    pairs: tuple = ()  # (server, server compared with, greatest ratio), where it is not weir against opponents
    limits: tuple = ()  # (server, figure, greatest value)
    cpus: int = 1
    load_share: float = 0  # open loop at this share of what the capacity cell's first server can do
    measures_memory: bool = False
    servers: tuple = ()  # empty: all of the kind

    @property
    def connections(self):
        return self.options["connections"]

    @property
    def descriptors(self):
        return sum(self.options.get(name, 0) for name in ("connections", "idle", "slow"))

    def work(self, upstream):
        return samplers.Work(self.mode, self.options, upstream, self.measures_memory)


SMALL = {"raw": 1.02, "libuv": 0.97, "asio_coro": 0.92}
LARGE = {"raw": 1.03, "libuv": 1.0, "asio_coro": 0.95}
ECHO = "echo 64 B"


def echo(connections, size=64, **more):
    how = {"group": ECHO, "is_core": True, "bounds": SMALL, "counted": 20000, **more}
    return Cell(f"echo_{size}_{connections}", f"echo {size} B, {connections}", "echo", "echo",
                {"connections": connections, "size": size}, **how)


def instructions(handler, coroutine):
    return {"instructions": 4000, "limits": (("weir_epoll_handler", "server_instructions", handler),
                                             ("weir_epoll", "server_instructions", coroutine))}


def latency(percent):
    return Cell(f"latency_{percent}", f"echo 64 B, 64, at {percent} % load", "echo", "echo",
                {"connections": 64, "size": 64}, "latency against offered load", figure="p99_us",
                load_share=percent / 100, servers=QUICK)


def active(count, idle):
    return Cell(f"active_{count}", f"echo 64 B, {count} active beside {idle} idle", "echo", "echo",
                {"connections": count, "size": 64, "idle": idle}, "cost against connections", servers=QUICK)


def fanout(name, title, **more):
    slow = {"slow": 1} if name == "fanout_slow" else {}
    return Cell(name, title, "fanout", "fanout", {"connections": 1000 - len(slow), "size": 256, **slow}, **more)


CELLS = [
    echo(1, **instructions(200, 270)), echo(32, **instructions(140, 200)), echo(256), echo(1000),
    Cell("echo_pipelined", "echo 64 B, 256, 16 at once", "echo", "echo",
         {"connections": 256, "size": 64, "pipeline": 16}, "echo, larger", True, counted=40000, bounds=LARGE),
    Cell("echo_16k", "echo 16 KiB, 32", "echo", "echo", {"connections": 32, "size": 16 << 10}, "echo, larger", True,
         counted=5000, bounds=LARGE),
    Cell("echo_256k", "echo 256 KiB, 8", "echo", "echo", {"connections": 8, "size": 256 << 10}, "echo, larger", True,
         counted=1000, bounds=LARGE),
    Cell("service", "service, 256", "service", "echo", {"connections": 256, "size": 64}, "services", True, counted=20000,
         instructions=4000, bounds={"libuv": 0.6, "libuv_gathered": 0.95, "asio_coro": 0.6, "asio_coro_gathered": 0.95}),
    fanout("fanout", "fan-out, per delivery", group="services", is_core=True, counted=50000, instructions=10000,
           bounds={"raw": 1.05, "libuv": 0.8, "asio_coro": 0.7}),
    Cell("proxy", "proxy 256 KiB, 8", "proxy", "echo", {"connections": 8, "size": 256 << 10}, "services", True,
         counted=500, instructions=100, bounds={"raw": 1.05, "libuv": 0.7, "asio_coro": 0.7}),
    Cell("http", "HTTP GET /, 64", "http", "http", {"connections": 64}, "services", True, counted=20000,
         instructions=4000),
    Cell("churn", "accept + echo + close, 8", "echo", "churn", {"connections": 8, "size": 64}, "connections", True,
         counted=4000, bounds={"raw": 1.02, "libuv": 0.97, "asio_coro": 0.95}),
    Cell("idle_9000", "idle connections, 9000", "echo", "idle", {"connections": 9000, "size": 64}, "connections", True,
         figure=MEMORY, limits=tuple((f"weir_{interface}{style}", MEMORY, limit) for interface in ("epoll", "uring")
                                     for style, limit in (("_handler", 256), ("", 448)))),

    *(echo(count, 1024, group="echo 1 KiB", is_core=False) for count in (1, 32, 256, 1000)),
    Cell("idle_50000", "idle connections, 50,000, three loops", "idle_3_loops", "idle",
         {"connections": 50000, "size": 64}, "connections", figure=MEMORY),
    *(latency(percent) for percent in (25, 50, 80, 95)),
    fanout("fanout_slow", "fan-out, one of 1000 never reads", group="services", measures_memory=True),
    Cell("loops", "echo 64 B, 256, one loop and two", "loops", "echo", {"connections": 256, "size": 64}, "loops", cpus=2,
         pairs=(("weir_epoll_2", "weir_epoll", 1.05), ("weir_uring_2", "weir_uring", 1.05))),
    active(10, 8000), active(100, 8000), active(1000, 8000),
]
BY_NAME = {cell.name: cell for cell in CELLS}
CAPACITY_OF = "echo"  # kind of the servers whose first one, driven in a closed loop, sets the offered loads

# Single operations (perf/peers/micro/micro.h says what each is), in one table for all libraries.
MICRO_PROGRAMS = {
    "libuv": "{build}/perf/peers/micro_libuv", "libevent": "{build}/perf/peers/micro_libevent",
    "libev": "{build}/perf/peers/micro_libev", "asio": "{build}/perf/peers/micro_asio",
    "weir_epoll": "{build}/perf/micro/weir_micro epoll", "weir_uring": "{build}/perf/micro/weir_micro io_uring",
}
MICRO_BOUNDS = (  # operation, opponent, greatest ratio
    ("timer_arm_cancel_1m", "libuv", 0.15), ("timer_arm_cancel_1m", "asio", 0.15),
    ("timers_due_1m", "libuv", 0.06), ("timers_due_1m", "asio", 0.18),
    ("post_cross_64", "libuv", 0.8), ("post_cross_64", "asio", 0.8),
    ("post_busy_64", "libuv", 0.8), ("post_busy_64", "asio", 0.8),
)
MICRO_LIMITS = (("timer_extend_1m", 3), ("post_busy_64", 60))  # operation, greatest ns
