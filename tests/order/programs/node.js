// Runs the programs of a file, one a line (program.h says how they are written), and writes in which order the parts of
// each ran, one a line.
//
//     node node.js PROGRAMS TRACES COUNT NEAR... FAR...   # COUNT pairs of joined sockets, as inherited descriptors
'use strict';
const fs = require('fs');
const net = require('net');

const kUnitMs = 1;
const [file, traces, countText, ...descriptors] = process.argv.slice(2);
const kInputCount = Number(countText);
const programs = fs.readFileSync(file, 'latin1').trimEnd().split('\n').map((line) => ({
  isApart: line[0] === '|',
  nodes: line.replace('|', '').split(';').map((node) => node.split(' ').filter((step) => step !== '').map((step) => {
    const [first, second] = step.slice(1).split(',').map(Number);
    return {what: step[0], first, second};
  })),
}));

process.on('uncaughtException', (error) => { if (error !== failure) fatal(error); });
process.on('unhandledRejection', (error) => { if (error !== failure) fatal(error); });
function fatal(error) {
  fs.writeSync(2, `${error.stack}\n`);
  process.exit(1);
}

// The inputs: what is written to the far end is read by the near one, which calls whoever waits for it.
const onInput = [];
for (let i = 0; i < kInputCount; ++i) {
  new net.Socket({fd: Number(descriptors[i]), onread: {buffer: Buffer.alloc(16), callback: () => {
    onInput[i]();
    return true;
  }}});
}
let usedInputs = 0;
function awaitInput(then) {
  onInput[usedInputs] = then;
  fs.writeSync(Number(descriptors[kInputCount + usedInputs++]), 'x');
}

// What is pending, and the rules that look at it: program.h.
const failure = new Error('a step of a program');
let isApart, nodes, trace, pending;
const start = () => ({ticks: 0, microtasks: 0, immediates: 0, inputs: 0, timers: 0});
const isOver = () => Object.values(pending).every((count) => count === 0);
const mayFail = (isJobOfPromise) =>
  isJobOfPromise || pending.ticks + pending.microtasks + pending.immediates === 0;

function counted(kind, job) {
  ++pending[kind];
  return (...args) => {
    --pending[kind];
    return job(...args);
  };
}
function microtask(job) { queueMicrotask(counted('microtasks', job)); }
function tick(job) { process.nextTick(counted('ticks', job)); }
function chosen(wanted) {
  const hasFreeInput = usedInputs < kInputCount;
  if (pending.timers > 0) return 'd';
  if (wanted === 'd' && pending.immediates + pending.inputs > 0) wanted = 'i';
  if (isApart && pending.inputs > 0) return hasFreeInput ? 'o' : 'm';
  if (isApart && pending.immediates > 0) return 'i';
  return wanted === 'o' && !hasFreeInput ? 'i' : wanted;
}
function macro(wanted, job) {
  switch (chosen(wanted)) {
    case 'm': return microtask(job);
    case 'i': return setImmediate(counted('immediates', job));
    case 'o': return awaitInput(counted('inputs', job));
    case 'd': return setTimeout(counted('timers', job), kUnitMs);
  }
}

function fail(id, isJobOfPromise) {
  if (!mayFail(isJobOfPromise)) return;
  trace.push(`${id}x`);
  throw failure;
}

function queue({what, first, second}) {
  const asJob = () => body(first, true);
  switch (what) {
    case 't': return tick(() => body(first, false));
    case 'm': return microtask(asJob);
    case 'p': {
      ++pending.microtasks;
      Promise.resolve().then(() => {
        --pending.microtasks;
        asJob();
        ++pending.microtasks;
      }).then(() => {
        --pending.microtasks;
        body(second, true);
      });
      return;
    }
    case 'a': return microtask(() => { task(first, false); });
    case 'k': return chain(tick, second, () => body(first, false));
    case 'n': return chain(microtask, second, asJob);
    default: return macro(what, () => body(first, false));
  }
}
function chain(queueOne, left, last) {
  queueOne(left === 1 ? last : () => chain(queueOne, left - 1, last));
}

function body(id, isJobOfPromise) {
  trace.push(id);
  for (const step of nodes[id]) {
    if (step.what === 'x') fail(id, isJobOfPromise);
    else queue(step);
  }
}

async function task(id, isCalled) {
  try {
    trace.push(id);
    for (let i = 0; i < nodes[id].length; ++i) {
      const step = nodes[id][i];
      let end = '';
      switch (step.what) {
        case 'x': fail(id, true); continue;
        case 'w':
          ++pending.microtasks;
          await null;
          break;
        case 'y': await macroDone('i'); break;
        case 'r': await macroDone('o'); break;
        case 'z': await macroDone('d'); break;
        case 'c':
          try {
            await task(step.first, true);
          } catch {
            end = 'c';
          }
          break;
        default: queue(step); continue;
      }
      --pending.microtasks;
      trace.push(`${id}.${i}${end}`);
    }
  } finally {
    if (isCalled) ++pending.microtasks;  // whoever awaits it goes on as one
  }
}
function macroDone(what) {
  return new Promise((resolve) => macro(what, () => {
    ++pending.microtasks;
    resolve();
  }));
}

// One program after the other. Two turns between them let the poll see that the sockets are empty.
let index = 0;
const output = [];
function next() {
  if (index > 0) output.push(trace.join(' '));
  if (index === programs.length) {
    fs.writeFileSync(traces, output.map((line) => line + '\n').join(''));
    process.exit(0);
  }
  ({isApart, nodes} = programs[index++]);
  trace = [];
  pending = start();
  usedInputs = 0;
  setImmediate(counted('immediates', () => body(0, false)));
  watch();
}
function watch() {
  setImmediate(() => isOver() ? setImmediate(() => setImmediate(next)) : watch());
}
next();
