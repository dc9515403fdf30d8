#!/usr/bin/env python3
"""Shows the files and functions that stand out by length: over 500 lines, over 70 lines. A hint to a reader, not a gate."""
import pathlib
import re
import subprocess

kRoot = pathlib.Path(__file__).resolve().parent.parent
kFileLinesMax = 500
kFunctionLinesMax = 70


def long_functions(lines):
    """Functions as .clang-format lays them out: a line that ends in `) {` (or so), up to `}` in the same column."""
    begin = re.compile(r'^( {0,4})(?!if|for|while|switch|else|do|namespace|struct|class|enum|union|extern)\w[^;]*\)[\w ]* \{$')
    for start, line in enumerate(lines):
        head = begin.match(line)
        if not head:
            continue
        end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith(head.group(1) + '}')), start)
        if end - start + 1 > kFunctionLinesMax:
            yield start + 1, end - start + 1, line.strip()


def main():
    sources = subprocess.run([kRoot / 'scripts/list_sources'], capture_output=True, text=True, check=True).stdout.split()
    for source in sources:
        lines = (kRoot / source).read_text().splitlines()
        if len(lines) > kFileLinesMax:
            print(f'  {source}: {len(lines)} lines')
        for start, count, head in long_functions(lines):
            print(f'  {source}:{start}: {count} lines: {head}')


main()
