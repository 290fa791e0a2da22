// Restate: `measure.js calls` or `measure.js actions`, the service whose handlers are the runs.
'use strict';

const clients = require('@restatedev/restate-sdk-clients');
const { measure } = require('../workload');

const REGISTER_MILLISECONDS = 60_000;

// The server asks the workers what they serve; both may still be starting.
async function register() {
  const until = Date.now() + REGISTER_MILLISECONDS;
  for (;;) {
    const failure = await deploy();
    if (!failure) return;
    if (Date.now() > until) throw new Error(`the services cannot be registered: ${failure}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function deploy() {
  try {
    const answer = await fetch(`${process.env.BENCH_ADMIN}/deployments`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ uri: `http://127.0.0.1:${process.env.BENCH_WORKER_PORT}`, force: true }),
    });
    return answer.ok ? '' : `${answer.status} ${await answer.text()}`;
  } catch (error) {
    return String(error.cause ?? error);
  }
}

async function main() {
  await register();
  const service = clients.connect({ url: process.env.BENCH_SERVER }).serviceClient({ name: process.argv[2] });
  const fanout = async (branches) => {
    const joined = await service.fanout(branches);
    if (joined !== branches) throw new Error(`joined ${joined}`);
  };
  await measure(
    { restate: require('@restatedev/restate-server/package.json').version },
    {
      fanout,
      runs: (count) => Promise.all(Array.from({ length: count }, () => service.small())),
      idle: () => fanout(3),
    },
  );
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
