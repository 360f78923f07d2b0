/** Thousands of connections on which nothing is said: who is connected is served all the same, and soon everybody again. */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { sleep } from '../servients/runtime.js';
import { require, type Scenario, type SoakContext } from './scenario.js';
import { Town, townPlan } from './town.js';

const connections = 5_000;
/** That a backend holds at once; what is more is closed as soon as it comes. */
const held = 1_024;
/** Longer than a connection may be silent before its first request. */
const freedMs = 30_000;
const atOnce = 250;

async function run({ seed, most = connections, folder, port, say }: SoakContext): Promise<void> {
  const town = new Town({ ...townPlan(folder, seed, port), speed: 60 });
  const [served, fresh] = [new Agent({ keepAlive: true, maxSockets: 1 }), new Agent()];
  const idle: Socket[] = [];
  try {
    await town.cast.start('backend');
    await ask(port, served);
    for (let begun = 0; begun < most; begun += atOnce) {
      idle.push(...(await Promise.all(Array.from({ length: Math.min(atOnce, most - begun) }, () => open(port)))));
      await ask(port, served);
    }
    // What is closed there is heard of here a little later.
    await sleep(1_000, AbortSignal.timeout(2_000));
    const count = idle.filter((socket) => !socket.destroyed).length;
    require(count <= held, `${count} of ${most} idle connections are held at once`);
    const started = performance.now();
    let longestMs = 0;
    for (let isServed = false; !isServed;) {
      longestMs = Math.max(longestMs, await ask(port, served));
      isServed = await ask(port, fresh).then(
        () => true,
        () => false,
      );
      require(performance.now() - started < freedMs, 'whoever comes new is not served');
      await sleep(250, AbortSignal.timeout(1_000));
    }
    const waitedS = ((performance.now() - started) / 1_000).toFixed(1);
    say(
      `${most} idle connections: ${count} were held; who was connected waited ${longestMs.toFixed(0)} ms at most, ` +
        `and who came new for ${waitedS} s`,
    );
  } finally {
    for (const socket of idle) socket.destroy();
    served.destroy();
    fresh.destroy();
    await town.close();
  }
}

/** @throws Error that says how to let more be open */
async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  socket.resume();
  const [error] = (await Promise.race([once(socket, 'connect'), once(socket, 'error')])) as readonly unknown[];
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  require(code !== 'EMFILE', 'too few files may be open at once: ulimit -n 12000');
  return socket;
}

/** @returns how long the answer took, in milliseconds */
function ask(port: number, agent: Agent): Promise<number> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', agent, path: '/health/live', timeout: 5_000 }, (response) => {
      response.resume().once('end', () => {
        if (response.statusCode === 200) resolve(performance.now() - started);
        else reject(new Error(`/health/live answers ${String(response.statusCode)}`));
      });
    });
    asked.once('timeout', () => asked.destroy(new Error('no answer in 5 s')));
    asked.once('error', reject);
    asked.end();
  });
}

export const idleScenario: Scenario = { name: 'idle', share: 0.1, run };
