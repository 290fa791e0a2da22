// What every peer in JavaScript is asked for, and how it is timed: the same as workload.py, in the same words.
'use strict';

const { parseArgs } = require('node:util');

const WARM_UP_RUNS = 50;
const WARM_UP_IDLE = 5;

function sizes() {
  const option = (value) => ({ type: 'string', default: value });
  const { values } = parseArgs({
    args: process.argv.slice(2),
    allowPositionals: true,
    options: {
      branches: option('1000'),
      runs: option('1000'),
      'latency-runs': option('200'),
      repeat: option('5'),
      budget: option('180'),
    },
  });
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));
}

// `peer` gives fanout(branches), runs(count) and idle(); each resolves when the end is known here.
async function measure(versions, peer) {
  const size = sizes();
  say({ versions });
  await peer.fanout(size.branches);
  say({ workload: 'fanout', seconds: await repeat(size, () => seconds(() => peer.fanout(size.branches))) });
  await peer.runs(Math.min(size.runs, WARM_UP_RUNS));
  say({ workload: 'runs', seconds: await repeat(size, () => seconds(() => peer.runs(size.runs))) });
  for (let warm = 0; warm < WARM_UP_IDLE; warm += 1) await peer.idle();
  say({ workload: 'latency', rows: await repeat(size, () => rowOfIdleRuns(size, peer.idle)) });
}

function say(values) {
  process.stdout.write(`${JSON.stringify(values)}\n`);
}

// Up to `--repeat` values; fewer, but at least one, where the budget ends before.
async function repeat(size, once) {
  const until = performance.now() + size.budget * 1000;
  const values = [await once()];
  while (values.length < size.repeat && performance.now() < until) values.push(await once());
  return values;
}

async function seconds(once) {
  const began = performance.now();
  await once();
  return (performance.now() - began) / 1000;
}

// Seconds of each of so many runs, one after the other; a slow peer's row ends with the budget.
async function rowOfIdleRuns(size, idle) {
  const until = performance.now() + size.budget * 1000;
  const row = [];
  while (row.length < size['latency-runs'] && performance.now() < until) row.push(await seconds(idle));
  return row;
}

module.exports = { measure };
