"""The page of a result: one HTML file that needs no network. The first screen answers "is weir ahead, where, by how much?"."""

import html
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "suite"), str(HERE.parent / "measure")]

import matrix  # noqa: E402
import plots  # noqa: E402
import stats  # noqa: E402
import summary  # noqa: E402

FULL_COLOUR = 0.5  # a ratio this far from 1 has the heat map's full colour
OFFERED = [25, 50, 80, 95]
CELLS_OF_COST = {"echo alone": ["echo_64_1", "echo_64_32", "echo_64_256", "echo_64_1000"],
                 "beside 8,000 idle": ["active_10", "active_100", "active_1000"]}


def escape(text):
    return html.escape(str(text))


def render(record):
    cells = summary.summarise(record)
    parts = [head(record, cells), heat_map(cells), standing(cells), reached(cells, summary.Micro(record)), cell_plots(record, cells), latency(cells), cost(cells),
             memory(cells), counts(cells), operations(summary.Micro(record)), tables(cells), left_out(record), machine(record)]
    style = (HERE / "style.css").read_text()
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>weir: performance</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<style>\n{style}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n")


def head(record, cells):
    plan, where = record.plan, record.machine
    notes = []
    if plan["is_look"]:
        notes.append("A look, not a claim: few and short rounds.")
    busy = [cell.cell.title for cell in cells if cell.is_busy()]
    if busy:
        notes.append(f"The machine was BUSY: others used the processor while {len(busy)} of {len(cells)} cells were measured "
                     f"({', '.join(busy)}). Their times are to be read with care; counts and sizes hold.")
    warning = "".join(f'<p class="warn">{escape(note)}</p>' for note in notes)
    return (f"<h1>Is weir ahead, where, by how much?</h1><p class=weak>{escape(where['date'])}, commit {escape(where['commit'])}, "
            f"{escape(where['cpu'])}, Linux {escape(where['kernel'])}; {plan['rounds']} rounds, seed {plan['seed']}</p>"
            f"{warning}")


def standing(cells):
    texts = [summary.standing_text(cells, subject, opponent)
             for opponent in matrix.OPPONENTS for subject in matrix.SUBJECTS]
    items = "".join(f"<li>{escape(text)}</li>" for text in texts if text)
    return f"<ul id=standing>{items or '<li>No cell was measured with weir and an opponent.</li>'}</ul>"


def colour(ratio):
    if stats.is_equal(ratio):
        return "background: rgba(128, 128, 128, 0.15)"
    strength = min(1, abs(ratio - 1) / FULL_COLOUR) * 0.6 + 0.12
    return f"background: rgba(var(--{'good' if ratio < 1 else 'bad'}), {strength:.2f})"


def ratio_cell(ratio, base):
    if ratio is None:
        return '<td class="ratio none">–</td>'
    text = "equal" if stats.is_equal(ratio["median"]) else f"{ratio['median']:.2f}"
    low, high = ratio["interval"] or (ratio["least"], ratio["greatest"])
    kind = "95 % interval" if ratio["interval"] else "least and greatest round"
    return (f'<td class="ratio" style="{colour(ratio["median"])}" title="against {escape(base)}; {ratio["pairs"]} pairs; '
            f'median {ratio["median"]:.3f}; {kind}">{text}<small>{low:.2f}–{high:.2f}</small></td>')


def heat_map(cells):
    heads = "".join(f"<th>{escape(summary.LABELS[opponent])}</th>" for _, opponent in summary.PAIRS)
    rows = []
    for cell in summary.comparable(cells):
        tds = []
        for pair in summary.PAIRS:
            base, ratio = cell.against(*pair)
            tds.append(ratio_cell(ratio, base))
        rows.append(f"<tr><td>{escape(cell.cell.title)}</td>{''.join(tds)}</tr>")
    spans = "".join(f'<th colspan="{len(matrix.OPPONENTS)}" style="text-align:center">{escape(summary.LABELS[subject])} against</th>'
                    for subject in matrix.SUBJECTS)
    return ('<div class="scroll"><table class="heat" id="heat-map"><thead>'
            f"<tr><th></th>{spans}</tr><tr><th>weir's figure / theirs</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
            '<p class="weak">Server CPU per request (memory for idle connections, p99 at an offered load): under 1 weir needs less. '
            "Small: 95 % interval of the paired ratios, or the range where there are under 6 pairs. Under 3 % is a tie. "
            "The raw loop is the best one on the same interface, or on any where none was written for it.</p>")


def reached(cells, micro):
    rows = [[what, label(server), label(base), *rest] for what, server, base, *rest in summary.reached(cells, micro)]
    text = "".join("<tr>" + "".join(f"<td>{escape(part)}</td>" for part in row[:-1])
                   + f'<td class="{row[-1].split()[0]}">{row[-1]}</td></tr>' for row in rows)
    return ("<h2>What it must reach</h2><p>A ratio holds when its median reaches the bound and its 95 % interval is at most "
            f"{summary.INTERVAL_WIDTH_MAX} wide; a wider one needs more rounds.</p><div class=scroll><table><tr><th>cell</th>"
            f"<th>weir</th><th>against</th><th>ratio or figure</th><th>bound</th><th></th></tr>{text}</table></div>")


def label(server):
    return summary.LABELS.get(server, server)


def not_run(what):
    return f'<p class="weak not-run">Not measured in this run: {escape(what)}.</p>'


def bar_rows(cell, figure=None):
    rows = []
    for name in cell.servers:
        values = cell.values(name, figure)
        if values:
            rows.append((name, cell.median(name, figure), min(values), max(values), name.startswith("weir")))
    return sorted(rows, key=lambda row: row[1])


def cell_plots(record, cells):
    by_name = {cell.cell.name: cell for cell in cells}
    parts = ["<h2>Each cell</h2><p>Medians, with the least and the greatest of all rounds. Shorter is better.</p>"]
    for cell in matrix.CELLS:
        if cell.load_share or not (cell.is_core or cell.name in record.plan["cells"]):
            continue
        parts.append(f"<h3>{escape(cell.title)}: {escape(matrix.FIGURE_TITLES[cell.figure])}</h3>")
        measured = by_name.get(cell.name)
        parts.append(plots.bars(f"bars-{cell.name}", cell.title, bar_rows(measured)) if measured else not_run(cell.title))
    return "".join(parts)


def points(cells, names, x_of, figure):
    """Lines through the cells of these names: {server: [(x, median, least, greatest)]}, those with two points or more."""
    series = {}
    for cell in (cell for name in names for cell in cells if cell.cell.name == name):
        for server in cell.servers:
            if server not in matrix.QUICK:
                continue
            values = cell.values(server, figure)
            if values:
                series.setdefault(server, []).append((x_of(cell), cell.median(server, figure), min(values), max(values)))
    return {server: row for server, row in series.items() if len(row) > 1}


def latency(cells):
    names = [f"latency_{percent}" for percent in OFFERED]
    parts = ["<h2>Latency against offered load</h2><p>Open loop: requests leave at their time whatever the server does, and a "
             "latency counts from when its request was due. 100 % is what the raw epoll loop can do on the same processor.</p>"]
    for figure in ("p50_us", "p99_us"):
        series = points(cells, names, lambda cell: round(cell.cell.load_share * 100), figure)
        title = f"{matrix.FIGURE_TITLES[figure]} against offered load"
        parts.append(plots.lines(f"latency-{figure.removesuffix('_us')}", title, series, "offered load, % of the raw loop's capacity",
                                 matrix.FIGURE_TITLES[figure], log_y=True) if series else not_run(title))
    return "".join(parts)


def cost(cells):
    parts = ["<h2>Cost against connections</h2>"]
    for title, names in CELLS_OF_COST.items():
        parts.append(f"<h3>64 B, {escape(title)}: {escape(matrix.FIGURE_TITLES[matrix.CPU])}</h3>")
        series = points(cells, names, lambda cell: cell.cell.connections, matrix.CPU)
        parts.append(plots.lines(f"cost-{names[0]}", f"cost against connections, {title}", series, "active connections",
                                 "server CPU µs per request", log_x=True) if series else not_run(f"cost against connections, {title}"))
    return "".join(parts)


def memory(cells):
    parts = ["<h2>Memory</h2>"]
    for name in ("idle_9000", "idle_50000"):
        cell = next((cell for cell in cells if cell.cell.name == name), None)
        title = matrix.BY_NAME[name].title
        parts.append(f"<h3>{escape(title)}: {escape(matrix.FIGURE_TITLES[matrix.MEMORY])}</h3>")
        parts.append(plots.bars(f"memory-{name}", title, bar_rows(cell)) if cell else not_run(title))
    slow = next((cell for cell in cells if cell.cell.name == "fanout_slow"), None)
    parts.append("<h3>Fan-out with one subscriber that never reads: memory grown, bytes</h3>")
    parts.append(plots.bars("memory-fanout_slow", "memory grown", bar_rows(slow, "grown_bytes")) if slow
                 else not_run("fan-out with one subscriber that never reads"))
    return "".join(parts)


def counts(cells):
    """What does not depend on the machine's mood, one table a figure."""
    parts = ["<h2>Counted</h2><p>These do not depend on the machine's mood: a server under a known number of requests.</p>"]
    for figure in summary.COUNTED:
        there = [cell for cell in cells if any(cell.values(name, figure) for name in cell.servers)]
        title = matrix.FIGURE_TITLES[figure]
        parts.append(f"<h3>{escape(title)}</h3>")
        if not there:
            parts.append(not_run(title))
            continue
        servers = [name for name in dict.fromkeys(n for cell in there for n in cell.servers)]
        heads = "".join(f"<th>{escape(cell.cell.title)}</th>" for cell in there)
        rows = "".join(f"<tr><td>{escape(name)}</td>" + "".join(
            f"<td>{summary.format_figure(cell.median(name, figure))}</td>" for cell in there) + "</tr>" for name in servers)
        parts.append(f'<div class="scroll"><table><tr><th></th>{heads}</tr>{rows}</table></div>')
    return "".join(parts)


def operations(micro):
    """Single operations, all libraries side by side."""
    text = "<h2>Single operations</h2>"
    if not micro.operations:
        return text + not_run("single operations (./dev perf micro)")
    first, *rest = micro.table()
    rows = "".join("<tr>" + "".join(f"<td>{escape(part)}</td>" for part in row) + "</tr>" for row in rest)
    return (f"{text}<p>perf/peers/micro/micro.h says what each is. Those named post_cross and post_busy need two processors that "
            "have nothing else to do.</p><div class=scroll><table><tr>" + "".join(f"<th>{escape(part)}</th>" for part in first)
            + f"</tr>{rows}</table></div>")


def tables(cells):
    parts = ["<h2>All figures</h2>"]
    for cell in cells:
        against = [name for name in ("raw_epoll", "libuv", "asio_coro") if name in cell.servers]
        first, *rest = summary.table(cell, against)
        rows = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rest)
        busy = " – BUSY: read with care" if cell.is_busy() else ""
        parts.append(f"<details><summary>{escape(cell.cell.title)}{busy}</summary><div class=scroll><table><tr>"
                     + "".join(f"<th>{escape(text)}</th>" for text in first) + f"</tr>{rows}</table></div></details>")
    return "".join(parts)


def left_out(record):
    rows = "".join(f"<tr><td>{escape(cell)}</td><td>{escape(name)}</td><td>{escape(reason)}</td></tr>"
                   for (cell, name), reason in record.left_out().items())
    rows += "".join(f"<tr><td>{escape(cell)}</td><td>{escape(name)}, {escape(kind)}</td><td>{escape(reason)}</td></tr>"
                    for (cell, name, kind), reason in record.missing().items())
    return f"<h2>Left out</h2><div class=scroll><table>{rows}</table></div>" if rows else "<h2>Left out</h2><p>Nothing.</p>"


def machine(record):
    facts = {**record.machine, **record.machine["libraries"]}
    facts.pop("libraries")
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in facts.items())
    plan = "".join(f"<tr><td>{escape(key)}</td><td>{escape(', '.join(value) if isinstance(value, list) else value)}</td></tr>"
                   for key, value in record.plan.items() if key not in ("cells", "servers"))
    return f"<h2>The machine and the plan</h2><div class=scroll><table>{rows}{plan}</table></div>"
