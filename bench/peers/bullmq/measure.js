// BullMQ's flows: trees of jobs in Redis.
'use strict';

const { FlowProducer, QueueEvents } = require('bullmq');
const { measure } = require('../workload');
const { QUEUE, connection, fanout, newId, smallBegin } = require('./queue');

async function main() {
  const flows = new FlowProducer({ connection: connection() });
  const events = new QueueEvents(QUEUE, { connection: connection() });
  // One listener for all: a listener for each of a thousand runs would be looked through at every event.
  const awaited = new Map();
  events.on('completed', ({ jobId }) => awaited.get(jobId)?.());
  await events.waitUntilReady();

  const ended = (id) =>
    new Promise((resolve) => {
      awaited.set(id, () => {
        awaited.delete(id);
        resolve();
      });
    });

  async function joined(branches) {
    const id = newId();
    const end = ended(id);
    await flows.add({ ...fanout(branches), opts: { jobId: id } });
    await end;
  }

  async function small() {
    const id = newId();
    const end = ended(id);
    await flows.add(smallBegin(id));
    await end;
  }

  await measure(
    { bullmq: require('bullmq/package.json').version },
    { fanout: joined, runs: (count) => Promise.all(Array.from({ length: count }, small)), idle: () => joined(3) },
  );
  await events.close();
  await flows.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
