#!/usr/bin/env python3
"""Checks the pages: relative links and anchors lead somewhere, complete code blocks compile, the tables of reference list
every field of their header, and the texts of metrics are those of the source.

A code block is complete when it starts with ```cpp and its first line is `// compiles`.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

kRoot = pathlib.Path(__file__).resolve().parent.parent
kSkipped = ('build', 'subprojects', '.git')


def pages():
    return [page for page in sorted(kRoot.rglob('*.md'))
            if page.relative_to(kRoot).parts[0] not in kSkipped and 'peers' not in page.parts]


def without_code(text):
    return re.sub(r'`[^`\n]*`', '', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))


def anchors(page):
    """The anchors that a reader's browser finds: one for each heading, as code hosts make them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    headings = re.findall(r'^#+ +(.*?) *$', text, flags=re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def link_faults(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', without_code(page.read_text())):
        if re.match(r'[a-z]+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f'{page.relative_to(kRoot)}: {target} is not there'
        elif anchor and file.suffix == '.md' and anchor not in anchors(file):
            yield f'{page.relative_to(kRoot)}: {target}: no such heading'


# Each of these pages lists all fields of the header's struct.
kFieldPages = {'include/weir/limits.h': 'docs/reference/limits.md',
               'include/weir/metrics.h': 'docs/reference/metrics.md'}


def field_faults():
    for header, page in kFieldPages.items():
        fields = re.findall(r'^  std::uint\d+_t (\w+)\s*=', (kRoot / header).read_text(), flags=re.M)
        rows = re.findall(r'^\| `(\w+)` \|', (kRoot / page).read_text(), flags=re.M)
        for field in sorted(set(fields) ^ set(rows)):
            yield f'{page}: {field} is in ' + (header if field in fields else 'the page') + ' only'


def metric_faults():
    """The table in the source says of each metric what the page says; its texts are shown to users too."""
    page = (kRoot / 'docs/reference/metrics.md').read_text()
    said = {name: text.replace('`', '') for name, text in re.findall(r'^\| `(\w+)` \| (.*) \|$', page, flags=re.M)}
    source = (kRoot / 'src/loop/metrics.cc').read_text()
    table = {}
    for kind, name, literals in re.findall(r'^\s+WEIR_(COUNTER|GAUGE)\(\s*(\w+),\s*((?:"[^"]*"\s*)+)\)', source, flags=re.M):
        table[name] = ('gauge: ' if kind == 'GAUGE' else '') + ''.join(re.findall(r'"([^"]*)"', literals))
    for name in sorted(set(said) | set(table)):
        if said.get(name) != table.get(name):
            yield f'docs/reference/metrics.md: {name}: "{said.get(name)}" here, "{table.get(name)}" in src/loop/metrics.cc'


def code_blocks():
    for page in pages():
        text = page.read_text()
        for block in re.finditer(r'^```cpp\n(// compiles\n.*?)^```', text, flags=re.M | re.S):
            yield f'{page.relative_to(kRoot)}:{text[:block.start()].count(chr(10)) + 2}', block.group(1)


def compile_fault(where, code):
    page, line = where.split(':')
    compiler = ['g++', '-std=c++20', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-Iinclude', '-x', 'c++', '-']
    run = subprocess.run(compiler, input=f'#line {line} "{page}"\n{code}', text=True, capture_output=True, cwd=kRoot)
    return f'{where}: does not compile\n{run.stderr}' if run.returncode else ''


def main():
    faults = [fault for page in pages() for fault in link_faults(page)] + list(field_faults()) + list(metric_faults())
    blocks = list(code_blocks())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        faults += [fault for fault in pool.map(lambda block: compile_fault(*block), blocks) if fault]
    print('\n'.join(faults + [f'{len(faults)} faults in {len(pages())} pages with {len(blocks)} complete code blocks']))
    return 1 if faults else 0


sys.exit(main())
