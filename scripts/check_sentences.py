#!/usr/bin/env python3
"""Checks that every sentence of docs/internals/turn.md has a test of its number that runs on each backend, and that the
table in tests/order/README.md says which; with --fix, writes the table.

A test shows sentence T7 when its name is T7_Something. Its suite runs on each backend when it is instantiated with
kBackends or kOrderBackends. The model shows a sentence that a comment in model.cc names.
"""
import collections
import pathlib
import re
import sys

kRoot = pathlib.Path(__file__).resolve().parent.parent
kPage = kRoot / 'docs/internals/turn.md'
kTable = kRoot / 'tests/order/README.md'
kModel = kRoot / 'tests/order/programs/model.cc'
kBegin, kEnd = '<!-- sentences -->\n', '<!-- end of sentences -->\n'


def sentences():
    """The numbers in the page's order, and what is wrong with them."""
    numbers, faults = [], []
    for line in kPage.read_text().splitlines():
        if line.startswith('- '):
            number = re.match(r'- \*\*([A-Z]\d+)\*\* ', line)
            if number:
                numbers.append(number[1])
            else:
                faults.append(f'{kPage.name}: a sentence without a number: {line}')
    by_letter = collections.defaultdict(list)
    for number in numbers:
        by_letter[number[0]].append(int(number[1:]))
    for letter, found in by_letter.items():
        if found != list(range(1, len(found) + 1)):
            faults.append(f'{kPage.name}: {letter} is numbered {found}')
    return numbers, faults


def tests():
    """Of each sentence: the tests that run on each backend, and those that need a script."""
    text = '\n'.join(path.read_text() for path in sorted((kRoot / 'tests/order').rglob('*_test.cc')))
    on_each = set(re.findall(r'INSTANTIATE_TEST_SUITE_P\(\s*\w+,\s*(\w+),\s*::testing::ValuesIn\(k(?:Order)?Backends\)', text))
    shown = collections.defaultdict(lambda: ([], []))
    for suite, number, name in re.findall(r'^TEST_[FP]\(\s*(\w+),\s*([A-Z]\d+)_(\w+)\)', text, flags=re.M):
        shown[number][0 if suite in on_each else 1].append(f'`{suite}.{name}`')
    return shown


def main():
    numbers, faults = sentences()
    shown = tests()
    in_model = set(re.findall(r'\b[TJ]\d+\b', ' '.join(re.findall(r'//.*', kModel.read_text()))))
    table = '| Sentence | On each backend | With a script | Model |\n| --- | --- | --- | --- |\n'
    for number in numbers:
        each, scripted = shown[number]
        table += f"| {number} | {', '.join(each)} | {', '.join(scripted)} | {'yes' if number in in_model else ''} |\n"
        if not each:
            faults.append(f'{number} has no test that runs on each backend')
    faults += [f'{number}: there is a test, and no such sentence' for number in sorted(set(shown) - set(numbers))]
    faults += [f'{number}: the model names it, and there is no such sentence' for number in sorted(in_model - set(numbers))]
    page = kTable.read_text()
    before, rest = page.split(kBegin)
    wanted = before + kBegin + table + kEnd + rest.split(kEnd)[1]
    if '--fix' in sys.argv:
        kTable.write_text(wanted)
    elif page != wanted:
        faults.append(f'{kTable.relative_to(kRoot)}: its table is not that of the tests; scripts/check_sentences.py --fix writes it')
    print('\n'.join(faults + [f'{len(faults)} faults in {len(numbers)} sentences']))
    return 1 if faults else 0


sys.exit(main())
