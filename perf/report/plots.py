"""Plots as inline SVG: bars with their spread, and lines. Text is real text; colours come from the page's style."""

import html
import math

BAR_HEIGHT = 20
LABEL_WIDTH = 170
WIDTH = 680
VALUE_WIDTH = 150
COLOURS = 8  # classes c0 … of the page


def format_number(value):
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _svg(name, title, width, height, body):
    return (f'<svg class="plot" data-plot="{html.escape(name)}" role="img" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}"><title>{html.escape(title)}</title>{"".join(body)}</svg>')


def _text(x, y, text, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'


def bars(name, title, rows):
    """`rows`: (label, median, least, greatest, whether it is weir's). The whisker is the spread of the rounds."""
    greatest = max(row[3] for row in rows) or 1
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    body = []
    for i, (label, median, least, most, is_ours) in enumerate(rows):
        y = i * BAR_HEIGHT
        def at(value):
            return LABEL_WIDTH + max(0, value) / greatest * room
        middle = y + BAR_HEIGHT / 2
        body.append(_text(LABEL_WIDTH - 8, middle + 4, label, "end", "ours" if is_ours else ""))
        body.append(f'<rect x="{LABEL_WIDTH}" y="{y + 3}" width="{max(1, at(median) - LABEL_WIDTH):.1f}" '
                    f'height="{BAR_HEIGHT - 6}" class="bar{" ours" if is_ours else ""}"/>')
        body.append(f'<path class="spread" d="M{at(least):.1f} {middle}H{at(most):.1f}M{at(least):.1f} {middle - 4}v8'
                    f'M{at(most):.1f} {middle - 4}v8"/>')
        spread = f" ({format_number(least)}–{format_number(most)})" if most > least else ""
        body.append(_text(at(most) + 6, middle + 4, format_number(median) + spread, "start", "value"))
    return _svg(name, title, WIDTH, len(rows) * BAR_HEIGHT + 4, body)


def _ticks(least, greatest, is_log):
    """Round values between the two."""
    if is_log:
        decades = range(math.floor(math.log10(least)), math.ceil(math.log10(greatest)) + 1)
        return [m * 10**d for d in decades for m in (1, 2, 5) if least <= m * 10**d <= greatest]
    step = 10 ** math.floor(math.log10((greatest - least) or 1))
    step = next(step * m for m in (0.2, 0.5, 1, 2) if (greatest - least) / (step * m) <= 6)
    return [step * i for i in range(math.ceil(least / step), math.floor(greatest / step) + 1)]


def lines(name, title, series, x_title, y_title, log_x=False, log_y=False):
    """`series`: {label: [(x, y, least, greatest), ...]}."""
    left, right, top, bottom, height = 64, 150, 12, 44, 300
    points = [point for row in series.values() for point in row]
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    y_low, y_high = (min(p[2] for p in points), max(p[3] for p in points)) if log_y else (0, max(p[3] for p in points))
    if x_low == x_high:
        x_low, x_high = x_low * 0.9, x_high * 1.1

    def scale(value, low, high, is_log):
        if is_log:
            value, low, high = (math.log10(max(v, 1e-9)) for v in (value, low, high))
        return (value - low) / ((high - low) or 1)

    def at_x(value):
        return left + scale(value, x_low, x_high, log_x) * (WIDTH - left - right)

    def at_y(value):
        return height - bottom - scale(value, y_low, y_high, log_y) * (height - bottom - top)

    body = []
    places = sorted({point[0] for point in points})
    for value in places if len(places) <= 6 else _ticks(x_low, x_high, log_x):
        body.append(f'<path class="grid" d="M{at_x(value):.1f} {top}V{height - bottom}"/>')
        body.append(_text(at_x(value), height - bottom + 16, format_number(value), "middle"))
    for value in _ticks(y_low, y_high, log_y):
        body.append(f'<path class="grid" d="M{left} {at_y(value):.1f}H{WIDTH - right}"/>')
        body.append(_text(left - 6, at_y(value) + 4, format_number(value), "end"))
    body.append(_text((left + WIDTH - right) / 2, height - 8, x_title, "middle"))
    body.append(f'<text transform="translate(14 {(height - bottom) / 2}) rotate(-90)" text-anchor="middle">'
                f'{html.escape(y_title)}</text>')
    labels = []
    for i, (label, row) in enumerate(series.items()):
        row = sorted(row)
        colour = f"c{i % COLOURS}"
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y, _, _ in row)
        body.append(f'<path class="line {colour}" d="M{path}"/>')
        for x, y, least, most in row:
            body.append(f'<path class="line thin {colour}" d="M{at_x(x):.1f} {at_y(least):.1f}V{at_y(most):.1f}"/>')
            body.append(f'<circle class="{colour}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3"/>')
        labels.append((at_y(row[-1][1]), label, colour))
    y_free = top
    for y, label, colour in sorted(labels):  # beside the last point, but not over another label
        y_free = max(y, y_free)
        body.append(_text(WIDTH - right + 10, y_free + 4, label, "start", f"name {colour}"))
        y_free += 15
    return _svg(name, title, WIDTH, max(height, int(y_free) + 10), body)
