"""Fills the tables of docs/performance.md from a result, so that no number there comes from memory.

A table stands between `<!-- result: NAME -->` and `<!-- end -->`; NAME is a function of TABLES below."""

import re

import harness
import matrix
import summary

BLOCK = re.compile(r"(<!-- result: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COUNTED_SERVERS = ("raw_epoll", "libuv", "asio_coro", "weir_epoll", "weir_epoll_handler", "weir_uring", "weir_uring_handler")


def markdown(rows):
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in body]) + "\n"


def machine(record, cells):
    busy = [cell.cell.title for cell in cells if cell.is_busy()]
    plan = record.plan
    text = (f"{harness.machine_line(record.machine)}\n\nMode {plan['mode']}, {plan['rounds']} rounds of {plan['duration_ms']} ms in "
            f"an order shuffled by seed {plan['seed']}, server and client on processor {plan['cpu']}.")
    return text + (f" Others used the processor in: {', '.join(busy)}." if busy else "") + "\n"


def ratios(_, cells):
    heads = (f"{summary.LABELS[subject].removeprefix('weir on ')} / {summary.LABELS[opponent]}" for subject, opponent in summary.PAIRS)
    return markdown([["server CPU per request, weir's / theirs", *heads], *summary.ratio_rows(cells)])


def standings(_, cells):
    texts = (summary.standing_text(cells, *pair) for pair in summary.PAIRS)
    return "".join(f"- {text}.\n" for text in texts if text)


def goals(record, cells):
    rows = (row for row in summary.reached(cells, summary.Micro(record)) if row[-1] != "not measured")
    return markdown([["what", "weir", "against", "measured", "goal", ""], *rows])


def counts(_, cells):
    rows = [["per request", "server", *(matrix.FIGURE_TITLES[name].removesuffix(" per request") for name in summary.COUNTED)]]
    for cell in cells:
        for server in (name for name in COUNTED_SERVERS if name in cell.servers):
            values = [cell.median(server, name) for name in summary.COUNTED]
            if any(value is not None for value in values):
                rows.append([cell.cell.title, server, *map(summary.format_figure, values)])
    return markdown(rows)


def times(_, cells):
    rows = [["", "server", "median", "min..max", "requests/s", "p50 µs", "p99 µs"]]
    for cell in cells:
        for server in cell.servers:
            values = cell.values(server)
            rows.append([f"{cell.cell.title}: {matrix.FIGURE_TITLES[cell.cell.figure]}", server,
                         summary.format_figure(cell.median(server)),
                         f"{summary.format_figure(min(values))}..{summary.format_figure(max(values))}",
                         *(summary.format_figure(cell.median(server, name)) for name in ("requests_per_second", "p50_us", "p99_us"))])
    return markdown(rows)


def micro(record, _):
    return markdown(summary.Micro(record).table())


TABLES = {table.__name__: table for table in (machine, ratios, standings, goals, counts, times, micro)}


def fill(text, record):
    """The document with each of its tables made anew."""
    cells = summary.summarise(record)

    def made(match):
        begin, name, end = match.groups()
        if name not in TABLES:
            raise harness.MeasureError(f"no table '{name}'; there are: {', '.join(TABLES)}")
        return f"{begin}{TABLES[name](record, cells)}{end}"
    return BLOCK.sub(made, text)
