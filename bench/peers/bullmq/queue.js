// What client and workers of the BullMQ peer share: the connection and the shapes of the flows.
'use strict';

const { randomUUID } = require('node:crypto');

const QUEUE = 'bench';

function connection() {
  const url = new URL(process.env.BENCH_REDIS_URL);
  return { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
}

const job = (name, more) => ({ name, queueName: QUEUE, data: {}, ...more });

// A parent runs when all its children have ended.
const fanout = (branches) => job('join', { children: Array.from({ length: branches }, () => job('noop')) });

// A tree cannot say "these four after that one", so the second step adds the rest. `last` is the id of the rest's root,
// chosen beforehand: whoever started the run waits for it, and a second step that runs twice adds it once.
const smallBegin = (last) => job('second', { data: { last }, children: [job('first')] });
const smallRest = (last) => job('last', { opts: { jobId: last }, children: Array.from({ length: 4 }, () => job('noop')) });

module.exports = { QUEUE, connection, fanout, smallBegin, smallRest, newId: randomUUID };
