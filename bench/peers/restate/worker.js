// The services of both Restate peers, in two processes that share a port: the server reaches them by one address.
'use strict';

const cluster = require('node:cluster');

// The SDK is written for Node 22; this is all that Node 20 lacks for it.
Promise.withResolvers ??= function withResolvers() {
  const parts = {};
  parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};
const restate = require('@restatedev/restate-sdk');

const PROCESSES = Number(process.env.BENCH_WORKERS);

const steps = restate.service({ name: 'steps', handlers: { noop: async () => null } });
const all = (count, start) => restate.RestatePromise.all(Array.from({ length: count }, (_, index) => start(index)));

// Branches as calls: each is an invocation of its own, which any process takes.
const step = (ctx) => ctx.serviceClient(steps).noop();
const calls = restate.service({
  name: 'calls',
  handlers: {
    fanout: async (ctx, branches) => (await all(branches, () => step(ctx))).length,
    small: async (ctx) => {
      await step(ctx);
      await step(ctx);
      await all(4, () => step(ctx));
      await step(ctx);
    },
  },
});

// Branches as recorded actions inside the run's own handler, in one process.
const noop = (ctx, index) => ctx.run(`noop-${index}`, async () => null);
const actions = restate.service({
  name: 'actions',
  handlers: {
    fanout: async (ctx, branches) => (await all(branches, (index) => noop(ctx, index))).length,
    small: async (ctx) => {
      await noop(ctx, 0);
      await noop(ctx, 1);
      await all(4, (index) => noop(ctx, index));
      await noop(ctx, 2);
    },
  },
});

if (cluster.isPrimary) {
  for (let number = 0; number < PROCESSES; number += 1) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.kill();
    process.exit(0);
  });
} else {
  restate.serve({ services: [steps, calls, actions], port: Number(process.env.BENCH_WORKER_PORT) });
}
