"""What a Record says: medians, spreads, ratios of samples of the same round, and whether a bound is held."""

import statistics

import harness
import matrix
import stats

INTERVAL_WIDTH_MAX = 0.04  # of a paired ratio: wider is undecided
UNWATCHED = ("time", "memory")  # passes; in the others something counts within the server
COUNTED = ("server_syscalls", "server_instructions", "heap_allocations", "copied_bytes")
PAIRS = [(subject, opponent) for subject in matrix.SUBJECTS for opponent in matrix.OPPONENTS]
LABELS = {"raw": "raw loop", "libuv": "libuv", "libuv_gathered": "libuv, gathered by hand", "asio_coro": "Asio coroutines",
          "asio_coro_gathered": "Asio, gathered by hand", "weir_epoll": "weir on epoll", "weir_uring": "weir on io_uring"}


class CellSummary:
    """One cell of a record."""

    def __init__(self, cell, record):
        self.cell = cell
        self._rounds = {}  # (server, figure): {round: value}
        self.other_cpu = []
        for line in record.lines:
            if line.get("cell") != cell.name or "figures" not in line:
                continue
            if "other_cpu_percent" in line and line["pass"] == "time":
                self.other_cpu.append(line["other_cpu_percent"])
            for figure, value in line["figures"].items():
                # A counted pass has times too, but of a server that was watched.
                if (line["pass"] in UNWATCHED) != (figure in COUNTED):
                    self._rounds.setdefault((line["server"], figure), {})[line["round"]] = value
        known = list(harness.load_servers("", cell.kind))
        there = {name for name, figure in self._rounds if figure == cell.figure}
        self.servers = sorted(there, key=lambda name: (known.index(name) if name in known else len(known), name))

    def values(self, server, figure=None):
        return list(self._rounds.get((server, figure or self.cell.figure), {}).values())

    def median(self, server, figure=None):
        values = self.values(server, figure)
        return statistics.median(values) if values else None

    def best(self, servers):
        """The one with the lowest median; None if none was measured."""
        there = [name for name in servers if name in self.servers]
        return min(there, key=self.median) if there else None

    def opponent(self, subject, opponent):
        """The server's name: of the raw loops, the best on the subject's interface, or on any where there is none on it."""
        if opponent == "raw":
            return self.best(matrix.RAW.get(subject, ())) or self.best(sum(matrix.RAW.values(), ()))
        return opponent if opponent in self.servers else None

    def against(self, subject, opponent):
        """The opponent's server, and the ratio to it; None where there is none."""
        base = self.opponent(subject, opponent)
        return base, self.ratio(subject, base) if base and subject in self.servers else None

    def ratio(self, subject, base, figure=None):
        """Of samples of the same round; None if there are none."""
        figure = figure or self.cell.figure
        ours, theirs = (self._rounds.get((name, figure), {}) for name in (subject, base))
        rounds = sorted(ours.keys() & theirs.keys())
        return stats.paired_ratio([ours[i] for i in rounds], [theirs[i] for i in rounds]) if rounds else None

    def is_busy(self):
        return bool(self.other_cpu) and statistics.median(self.other_cpu) > harness.BUSY_PERCENT


def summarise(record):
    """A CellSummary for each cell of the plan that has results."""
    cells = [CellSummary(matrix.BY_NAME[name], record) for name in record.plan["cells"] if name in matrix.BY_NAME]
    return [cell for cell in cells if cell.servers]


def verdict(ratio, bound):
    """'held', 'missed' or 'undecided': by the median, where the interval is narrow enough to tell."""
    if ratio is None:
        return "not measured"
    interval = ratio["interval"]
    if interval is None or interval[1] - interval[0] > INTERVAL_WIDTH_MAX:
        return "undecided"
    return "held" if ratio["median"] <= bound else "missed"


def bounds(cells):
    """Rows of (cell, server, server compared with, ratio, bound, verdict)."""
    for cell in cells:
        for subject in matrix.SUBJECTS:
            for opponent, bound in cell.cell.bounds.items():
                base, ratio = cell.against(subject, opponent)
                yield cell, subject, base or opponent, ratio, bound, verdict(ratio, bound)
        for server, base, bound in cell.cell.pairs:
            ratio = cell.ratio(server, base)
            yield cell, server, base, ratio, bound, verdict(ratio, bound)


def limits(cells):
    """Rows of (cell, server, figure, value, limit, verdict): what must be reached by itself, not against others."""
    for cell in cells:
        for server, figure, limit in cell.cell.limits:
            value = cell.median(server, figure)
            yield cell, server, figure, value, limit, "not measured" if value is None else "held" if value <= limit else "missed"


def reached(cells, micro):
    """Rows of text for all of these: what, server, compared with, ratio or figure, bound, verdict."""
    for cell, server, base, ratio, bound, told in bounds(cells):
        yield [cell.cell.title, server, base, stats.format_ratio(ratio), f"≤ {bound}", told]
    for cell, server, figure, value, limit, told in limits(cells):
        yield [f"{cell.cell.title}: {matrix.FIGURE_TITLES[figure]}", server, "", format_figure(value), f"≤ {limit}", told]
    for operation, library, base, shown, bound, told in micro.bounds():
        yield [operation, library, base, shown, f"≤ {bound}", told]


def comparable(cells):
    """Those that have weir beside an opponent."""
    return [cell for cell in cells if any(
        subject in cell.servers and (cell.opponent(subject, opponent) or subject) != subject
        for subject in matrix.SUBJECTS for opponent in matrix.OPPONENTS)]


def standing(cells, subject, opponent):
    """In how many cells the subject is ahead of the opponent, equal, or behind (and in which)."""
    ahead, equal, behind = [], [], []
    for cell in cells:
        _, ratio = cell.against(subject, opponent)
        if ratio is None:
            continue
        if stats.is_equal(ratio["median"]):
            equal.append(cell)
        else:
            (ahead if ratio["median"] < 1 else behind).append(cell)
    return ahead, equal, behind


def standing_text(cells, subject, opponent):
    ahead, equal, behind = standing(cells, subject, opponent)
    count = len(ahead) + len(equal) + len(behind)
    if count == 0:
        return None
    text = (f"{LABELS[subject]} against {LABELS[opponent]}: ahead in {len(ahead)} of {count} cells, equal in {len(equal)}, "
            f"behind in {len(behind)}")
    return text + (f" ({', '.join(cell.cell.title for cell in behind)})" if behind else "")


def format_figure(value):
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.005 else "0"


def table(cell, against):
    """Rows of text for one cell: a line a server, ratios against the servers named."""
    beside = [name for name in ("requests_per_second", "p50_us", "p99_us", *COUNTED)
              if name != cell.cell.figure and any(cell.values(server, name) for server in cell.servers)]
    rows = [["", matrix.FIGURE_TITLES[cell.cell.figure], "min..max", *(f"against {base}" for base in against),
             *(matrix.FIGURE_TITLES[name].removesuffix(" per request") for name in beside)]]
    for server in cell.servers:
        values = cell.values(server)
        ratios = ["1" if base == server else stats.format_ratio(cell.ratio(server, base)) for base in against]
        rows.append([server, format_figure(cell.median(server)), f"{format_figure(min(values))}..{format_figure(max(values))}",
                     *ratios, *(format_figure(cell.median(server, name)) for name in beside)])
    return rows


def print_rows(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, *cells in rows:
        print(name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(cells, widths[1:])), sep="  ")


def ratio_rows(cells):
    """Rows of text, a cell each: its title, and the ratio of each of PAIRS."""
    for cell in comparable(cells):
        yield [cell.cell.title, *(format_spread(cell.against(*pair)[1]) for pair in PAIRS)]


def print_ratios(cells, plan):
    """The table that answers at once: a row a cell, a column for each subject and opponent."""
    print()
    if plan["is_look"]:
        print("A look, not a claim: few and short rounds. In brackets the least and the greatest ratio of a round.")
    print_rows([["weir's figure / theirs", *(f"{subject.removeprefix('weir_')} / {opponent}" for subject, opponent in PAIRS)],
                *ratio_rows(cells)])
    for subject, opponent in PAIRS:
        if text := standing_text(cells, subject, opponent):
            print(text)


def format_spread(ratio):
    """As stats.format_ratio; where there are too few rounds for an interval, the range stands in its place."""
    if ratio is None or ratio["interval"]:
        return stats.format_ratio(ratio)
    return f"{stats.format_ratio(ratio)} [{ratio['least']:.2f}..{ratio['greatest']:.2f}]"


class Micro:
    """The single operations of a record."""

    def __init__(self, record):
        self._rounds = {}  # (operation, library): {round: ns}
        for line in record.lines:
            if "ns" in line:
                self._rounds.setdefault((line["micro"], line["library"]), {})[line["round"]] = line["ns"]
        self.operations = list(dict.fromkeys(name for name, _ in self._rounds))
        there = {library for _, library in self._rounds}
        self.libraries = [library for library in matrix.MICRO_PROGRAMS if library in there]

    def median(self, operation, library):
        values = self._rounds.get((operation, library))
        return statistics.median(values.values()) if values else None

    def ratio(self, operation, library, base):
        ours, theirs = (self._rounds.get((operation, name), {}) for name in (library, base))
        rounds = sorted(ours.keys() & theirs.keys())
        return stats.paired_ratio([ours[i] for i in rounds], [theirs[i] for i in rounds]) if rounds else None

    def table(self):
        """Rows of text: an operation a line, ns of each library, and weir's ratio to the best of the others."""
        weirs = [library for library in self.libraries if library in matrix.SUBJECTS]
        rows = [["ns per operation", *self.libraries, *(f"{library} / best other" for library in weirs)]]
        for operation in self.operations:
            others = [library for library in self.libraries if library not in weirs and self.median(operation, library)]
            best = min(others, key=lambda library: self.median(operation, library)) if others else None
            rows.append([operation, *(format_figure(self.median(operation, library)) for library in self.libraries),
                         *(format_spread(self.ratio(operation, library, best)) if best else "-" for library in weirs)])
        return rows

    def bounds(self):
        """As bounds() and limits() of the cells: rows of (operation, library, opponent, shown, bound, verdict)."""
        if not self.operations:
            return
        for operation, base, bound in matrix.MICRO_BOUNDS:
            for library in matrix.SUBJECTS:
                ratio = self.ratio(operation, library, base)
                told = "not measured" if ratio is None else "held" if ratio["median"] <= bound else "missed"
                yield operation, library, base, stats.format_ratio(ratio), bound, told
        for operation, limit in matrix.MICRO_LIMITS:
            for library in matrix.SUBJECTS:
                value = self.median(operation, library)
                told = "not measured" if value is None else "held" if value <= limit else "missed"
                yield operation, library, "", f"{format_figure(value)} ns", f"{limit} ns", told


def print_micro(record):
    micro = Micro(record)
    if micro.operations:
        print()
        print_rows(micro.table())
