// A worker of the BullMQ peer: every job is a no-op; a small run's second step adds the rest of it.
'use strict';

const { FlowProducer, Worker } = require('bullmq');
const { QUEUE, connection, smallRest } = require('./queue');

const flows = new FlowProducer({ connection: connection() });

async function work(job) {
  if (job.name === 'second') await flows.add(smallRest(job.data.last));
}

const worker = new Worker(QUEUE, work, {
  connection: connection(),
  concurrency: Number(process.env.BENCH_CONCURRENCY),
});
worker.on('error', (error) => console.error(error));

process.on('SIGTERM', async () => {
  await worker.close();
  await flows.close();
  process.exit(0);
});
