// The program under test: `rejoin dev` over an empty folder, and its API.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_MAX_MS = 60_000;
const REACHES_MAX_MS = 120_000;
const LOOK_MS = 100;

/** Starts the program, or takes the console at CONSOLE_URL. */
export async function start() {
  if (process.env.CONSOLE_URL) return new Rejoin(process.env.CONSOLE_URL, async () => {});
  const dir = await mkdtemp(join(tmpdir(), 'rejoin-console-'));
  await writeFile(join(dir, 'handlers.yaml'), 'concurrency: 16\nhandlers: {}\n');
  const child = spawn(process.env.REJOIN, ['dev', dir, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await new Promise((resolve) => child.once('exit', resolve));
    await rm(dir, { recursive: true });
  };
  let said = '';
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`it did not start: ${said}`)), START_MAX_MS);
    child.once('exit', () => reject(new Error(`it ended: ${said}`)));
    child.stderr.on('data', (data) => {
      said += data;
      const found = /^console: (\S+)$/m.exec(said);
      if (found) {
        clearTimeout(timer);
        resolve(found[1]);
      }
    });
  });
  return new Rejoin(url, stop);
}

class Rejoin {
  constructor(console, stop) {
    this.console = console;
    this.stop = stop;
  }

  async call(method, path, body, type = 'application/json') {
    const init =
      body === undefined
        ? { method }
        : { method, body: typeof body === 'string' ? body : JSON.stringify(body), headers: { 'content-type': type } };
    const answer = await fetch(new URL(`../v1/${path}`, this.console), init);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  async register() {
    const folder = new URL('workflows/', import.meta.url);
    for (const file of await readdir(folder)) {
      await this.call('PUT', 'workflows', await readFile(new URL(file, folder), 'utf8'), 'application/yaml');
    }
  }

  begin(workflow, input = {}, more = {}) {
    return this.call('POST', `workflows/${workflow}/runs`, { input, ...more });
  }

  /** Waits until a run is as `is` says. */
  async reaches(run, is) {
    const until = Date.now() + REACHES_MAX_MS;
    for (;;) {
      const shown = await this.call('GET', `runs/${run}`);
      if (is(shown)) return shown;
      if (Date.now() > until) throw new Error(`run ${run} did not get there: ${JSON.stringify(shown)}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}
