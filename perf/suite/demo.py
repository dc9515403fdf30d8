#!/usr/bin/env python3
"""Puts the example services under load on every backend that this machine offers, and prints one table.

usage: demo.py [--seconds S] [--build FOLDER] [SERVICE...]      services: echo http_hello tcp_proxy

Every byte that comes back is compared. The counts per request are the services' own (--stats). Server and load have
a CPU each where there are two. A look, not a claim: ./dev perf measures with rounds and intervals."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BACKENDS = ["epoll", "io_uring", "io_uring:5.10"]
SERVICES = {  # what load does to it, in words and as its arguments
    "echo": ("64 connections, 64 bytes each way", ["--connections", "64", "--size", "64"]),
    "http_hello": ("64 connections, GET /", ["--connections", "64", "--protocol", "http"]),
    "tcp_proxy": ("16 connections, 16 KiB through to an echo and back", ["--connections", "16", "--size", "16384"]),
}
COLUMNS = ["service", "backend", "requests/s", "CPU us", "p50 us", "p99 us", "syscalls", "copied B", "allocs", "RSS MiB",
           "errors"]
START_SECONDS = 10
STOP_SECONDS = 15
BUSY_LOAD = 1.0


class Refused(Exception):
    """The service did not start; the text says why."""


class Service:
    """One running example, until it is told to stop."""

    def __init__(self, build, name, backend, cpus, extra=()):
        command = [str(build / "examples" / name), "--listen", "127.0.0.1:0", "--backend", backend, "--stats", *extra]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        first = self.process.stdout.readline().split()
        if len(first) != 3 or first[0] != "listening":
            self.process.kill()
            raise Refused(self.process.communicate()[1].strip().split("\n")[-1] or "ended without a word")
        self.address, self.backend = first[1], first[2].removeprefix("backend=")

    def cpu_us(self):
        total_ns = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e3

    def resident_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def stop(self):
        """Drains it; returns its counters, and what went wrong."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, error = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return {}, "did not stop"
        counters = {name: int(value) for name, value in (line.split() for line in out.splitlines())}
        if self.process.returncode != 0:
            return counters, f"exit status {self.process.returncode}: {error.strip()[-200:]}"
        return counters, ""


def place():
    """The CPUs of the server and those of the load."""
    cpus = sorted(os.sched_getaffinity(0))
    return ({cpus[0]}, set(cpus[1:2])) if len(cpus) > 1 else (set(cpus), set(cpus))


def run_load(build, address, arguments, seconds, cpus):
    command = [str(build / "perf/suite/load/load"), "--connect", address, "--json", "--warmup", str(seconds / 10),
               "--duration", str(seconds), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 30,
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    if not done.stdout:
        raise RuntimeError(done.stderr.strip() or f"load ended with {done.returncode}")
    return json.loads(done.stdout)


def measure(build, name, backend, seconds):
    """One row of the table, and what was wrong with it."""
    server_cpus, load_cpus = place()
    upstream = None
    extra = []
    if name == "tcp_proxy":
        upstream = Service(build, "echo", "epoll", load_cpus)
        extra = ["--upstream", upstream.address]
    try:
        service = Service(build, name, backend, server_cpus, extra)
        try:
            before_us = service.cpu_us()
            load = run_load(build, service.address, SERVICES[name][1], seconds, load_cpus)
            cpu_us = service.cpu_us() - before_us
            resident = service.resident_mib()
        finally:
            counters, wrong = service.stop()
    finally:
        if upstream is not None:
            upstream.stop()
    total = max(1, load["requests_total"])
    errors = load["faults"]["all"] + (1 if wrong else 0)

    def per_request(counter):
        return counters.get(counter, float("nan")) / total

    row = [name, service.backend, f"{load['requests_per_s']:,.0f}", f"{cpu_us / total:.2f}",
           f"{load['latency_us']['p50']:.0f}", f"{load['latency_us']['p99']:.0f}", f"{per_request('system_calls'):.2f}",
           f"{per_request('bytes_copied'):.2f}", f"{per_request('heap_allocations'):.4f}", f"{resident:.1f}", str(errors)]
    return row, wrong or load["first_fault"]


def print_table(rows):
    full = [row for row in rows if len(row) == len(COLUMNS)]
    widths = [max(len(row[i]) for row in [COLUMNS, *full]) for i in range(len(COLUMNS))]

    def line(cells):
        return "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                         for i, (cell, width) in enumerate(zip(cells, widths))).rstrip()

    print(line(COLUMNS))
    print("  ".join("-" * width for width in widths))
    for row in rows:
        print(line(row))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=", ".join(SERVICES))
    parser.add_argument("--seconds", type=float, default=3.0, help="of load on each service and backend (3)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    arguments = parser.parse_args()
    for name in arguments.services:
        if name not in SERVICES:
            parser.error(f"no service '{name}'; there are: {', '.join(SERVICES)}")
    if not 0.05 <= arguments.seconds <= 60:
        parser.error(f"--seconds: got {arguments.seconds}, expected 0.05 to 60")
    return arguments


def main():
    arguments = parse_arguments()
    build = arguments.build.resolve()
    busy, started = os.getloadavg()[0], time.monotonic()
    rows, notes, failed = [], [], False
    for name in arguments.services or SERVICES:
        if not (build / "examples" / name).exists():
            notes.append(f"{name}: not built here (./dev build says why)")
            continue
        print(f"{name}: {SERVICES[name][0]}", flush=True)
        for backend in BACKENDS:
            try:
                row, wrong = measure(build, name, backend, arguments.seconds)
                if wrong:
                    notes.append(f"{name} on {backend}: {wrong}")
                    failed = True
            except Refused as refused:
                row = [name, backend, f"not on this machine: {refused}"]
            rows.append(row)
    print()
    print_table(rows)
    print("\nCPU, system calls, bytes copied in user space and heap allocations are the server's, per request; it allocates"
          "\nwhile connections come and its first requests grow its tables, and nothing after that.")
    if busy > BUSY_LOAD:
        print(f"Other work ran on this machine meanwhile (load {busy:.1f}): CPU us and the counts hold, the times less so.")
    for note in notes:
        print(note)
    print(f"{time.monotonic() - started:.0f} s in all.")
    print(f"""
Try next:
  {build.relative_to(ROOT) if build.is_relative_to(ROOT) else build}/examples/http_hello --listen 127.0.0.1:8080 --stats    and curl it; Ctrl-C prints its counters
  examples/echo.cc is where to start a service of your own; docs/guide.md leads through the rest
  ./dev perf compares echo with libuv, libevent, Asio and raw loops; ./dev test runs everything""")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
