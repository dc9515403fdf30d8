"""What may be said about repeated samples: medians, spread, and how sure a ratio is."""

import math
import statistics

EQUAL_WITHIN = 0.03  # the same program against itself differs by up to this much


def median_interval(values, confidence=0.95):
    """The interval that holds the true median with at least `confidence`, as a pair of values.

    It comes from order statistics (the sign test), so nothing is assumed about the distribution.
    None when there are too few values: 95 % needs 6."""
    ordered = sorted(values)
    count = len(ordered)
    widest = None
    below = 0.0  # P(fewer than `skip` of `count` fair coins show heads)
    for skip in range(1, count // 2 + 1):
        below += math.comb(count, skip - 1) / 2**count
        if 1 - 2 * below < confidence:
            break
        widest = (ordered[skip - 1], ordered[count - skip])
    return widest


def paired_ratio(values, base):
    """Of two series whose i-th samples are from the same round: the median ratio, its interval."""
    ratios = [value / other for value, other in zip(values, base) if other > 0]
    if not ratios:
        return None
    return {"median": statistics.median(ratios), "interval": median_interval(ratios),
            "least": min(ratios), "greatest": max(ratios), "pairs": len(ratios)}


def describe(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def is_equal(ratio):
    return abs(ratio - 1) < EQUAL_WITHIN


def format_ratio(ratio):
    """`1.12 [1.08, 1.15]`, or `equal [0.99, 1.02]` for a difference under 3 %."""
    if ratio is None:
        return "-"
    text = "equal" if is_equal(ratio["median"]) else f"{ratio['median']:.2f}"
    if ratio["interval"]:
        low, high = ratio["interval"]
        text += f" [{low:.2f}, {high:.2f}]"
    return text
