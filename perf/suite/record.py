"""What was measured: a file of JSON lines, written as the results come. The first line says how it was measured; a run
that was interrupted goes on from what is there.

  {"weir_perf": 1, "plan": {...}, "machine": {...}}            the head
  {"cell": "echo_64_1", "server": "libuv", "pass": "time", "round": 0, "figures": {...}, "other_cpu_percent": 0.4}
  {"cell": "echo_64_1", "server": "nginx", "left_out": "nginx is not installed"}
  {"capacity": 81234.5}                                        what offered loads are shares of
  {"micro": "post_same_64", "library": "libuv", "round": 0, "ns": 23.1}

A finished run is also written as one JSON document with the same parts, {"weir_perf": 1, ..., "lines": [...]}."""

import json
import os
import pathlib

FORMAT = 1


class RecordError(Exception):
    """Worth one clear line."""


class Record:
    def __init__(self, head, lines=(), path=None):
        self.head = head
        self.lines = list(lines)
        self._path = path

    @classmethod
    def create(cls, path, plan, machine):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        record = cls({"weir_perf": FORMAT, "plan": plan, "machine": machine}, path=path)
        record._write(record.head)
        return record

    def add(self, line):
        self.lines.append(line)
        self._write(line)

    def _write(self, line):
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    @property
    def plan(self):
        return self.head["plan"]

    @property
    def machine(self):
        return self.head["machine"]

    def keys(self):
        """What need not be measured again: (cell, pass, server, round)."""
        return {(line["cell"], line["pass"], line["server"], line["round"]) for line in self.lines if "figures" in line}

    def micro_keys(self):
        return {(line["micro"], line["library"], line["round"]) for line in self.lines if "ns" in line}

    def left_out(self):
        """(cell, server): reason; of the single operations the cell is `micro`."""
        return {(line["cell"], line["server"]): line["left_out"] for line in self.lines if "left_out" in line}

    def missing(self):
        """What could not be counted, although the server ran: (cell, server, pass): reason."""
        return {(line["cell"], line["server"], line["pass"]): line["missing"] for line in self.lines if "missing" in line}

    def capacity(self):
        return next((line["capacity"] for line in self.lines if "capacity" in line), None)

    def save_document(self, path):
        """One JSON document, complete or not there at all."""
        path = pathlib.Path(path)
        partial = path.with_suffix(".part")
        partial.write_text(self.to_json(), encoding="utf-8")
        os.replace(partial, path)

    def to_json(self):
        head = json.dumps(self.head, ensure_ascii=False)[:-1]
        lines = ",\n".join(json.dumps(line, ensure_ascii=False) for line in self.lines)
        return f'{head}, "lines": [\n{lines}\n]}}\n'


def load(path, for_writing=False):
    """A Record from either form. A torn last line, from a run that was killed, is dropped."""
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from None
    head, lines = _parse(path, text, for_writing)
    if not isinstance(head, dict) or "weir_perf" not in head:
        raise RecordError(f"{path} is no result of ./dev perf")
    if head["weir_perf"] != FORMAT:
        raise RecordError(f"{path} is a result of format {head['weir_perf']}; this version reads format {FORMAT}: "
                          "use the version that wrote it, or measure again")
    return Record(head, lines, path if for_writing else None)


def _parse(path, text, for_writing):
    if text.lstrip().startswith('{"weir_perf"') and '"lines": [' in text.split("\n", 1)[0]:
        try:
            document = json.loads(text)
        except ValueError as error:
            raise RecordError(f"{path} is damaged: {error}") from None
        return document, document.pop("lines")
    rows = text.splitlines(keepends=True)
    if len(rows) > 1 and not rows[-1].endswith("\n"):
        rows.pop()
        if for_writing:
            path.write_text("".join(rows), encoding="utf-8")
    try:
        parsed = [json.loads(row) for row in rows if row.strip()]
    except ValueError as error:
        raise RecordError(f"{path} is no result of ./dev perf, or is damaged: {error}") from None
    if not parsed:
        raise RecordError(f"{path} is empty")
    return parsed[0], parsed[1:]
