#!/usr/bin/env python3
"""Adds up every test that ran, from results.tsv and from the build folders that Meson tested.

usage: count_results.py RESULTS.tsv BUILD_FOLDER...
Prints why tests were skipped, which failed, and last one line `N passed, N failed, N skipped`.
Exits with 1 if a test failed or if none ran. A program that died counts its finished tests and one failure.
"""
import collections
import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

passed = 0
failures = []
skips = collections.Counter()
kMesonVerdicts = {'OK': 'passed', 'EXPECTEDFAIL': 'passed', 'SKIP': 'skipped'}


def record(verdict, name, reason=''):
    global passed
    if verdict == 'passed':
        passed += 1
    elif verdict == 'skipped':
        skips[reason or 'no reason given: ' + name] += 1
    else:
        failures.append(name + (': ' + reason if reason else ''))


def record_xml(path, label):
    """Records the tests of one GoogleTest report; returns how many of them failed."""
    failed = 0
    for case in ElementTree.parse(path).iter('testcase'):
        name = f"{label} {case.get('classname')}.{case.get('name')}"
        skipped = case.find('skipped')
        if case.find('failure') is not None:
            record('failed', name)
            failed += 1
        elif skipped is not None:  # GoogleTest's message is "FILE:LINE\nREASON".
            record('skipped', name, skipped.get('message', '').strip().split('\n')[-1])
        elif case.get('status') == 'run':
            record('passed', name)
    return failed


def record_output(output, label):
    """The same from the output of a program that died before it could write its report."""
    verdicts = re.findall(r'\[ +(OK|FAILED|SKIPPED) +\] (\S+) \(\d+ ms\)', output)
    reasons = dict((name, reason) for reason, name in re.findall(r'Skipped\n(.*)\n\[ +SKIPPED +\] (\S+)', output))
    for verdict, name in verdicts:
        verdict = {'OK': 'passed', 'FAILED': 'failed', 'SKIPPED': 'skipped'}[verdict]
        record(verdict, f'{label} {name}', reasons.get(name, ''))
    started = re.findall(r'\[ RUN +\] (\S+)', output)
    return started[-1] if len(started) > len(verdicts) else ''


def record_build(folder):
    log = folder / 'meson-logs' / 'testlog.json'
    if not log.exists():
        record('failed', f'{folder.name}: its tests did not run')
        return
    for line in log.read_text(errors='replace').splitlines():
        run = json.loads(line)
        label = f"{folder.name} {run['name']}"
        report = folder / (run['name'].split(' / ')[-1] + '.xml')
        output = run.get('stdout', '')
        if report.exists():
            if record_xml(report, label) == 0 and run['result'] != 'OK':
                record('failed', label, f"exit code {run['returncode']}, {run['result']}")
        elif 'Running main() from' in output:
            last = record_output(output, label)
            record('failed', f'{label} {last}'.strip(), f"died, {run['result']}, exit code {run['returncode']}")
        else:
            reason = (output.strip().split('\n') or [''])[-1]
            record(kMesonVerdicts.get(run['result'], 'failed'), label, '' if run['result'] == 'OK' else reason)


def main():
    results = pathlib.Path(sys.argv[1])
    if results.exists():
        for line in results.read_text().splitlines():
            record(*line.split('\t'))
    for folder in sys.argv[2:]:
        record_build(pathlib.Path(folder))
    for reason, count in skips.most_common():
        print(f'skipped {count}: {reason}')
    for failure in failures:
        print(f'FAILED {failure}')
    print(f'{passed} passed, {len(failures)} failed, {sum(skips.values())} skipped')
    return 1 if failures or passed == 0 else 0


sys.exit(main())
