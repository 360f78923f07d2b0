import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterAll, describe, expect, it } from 'vitest';
import { endAll, run, start } from '../support/processes.js';

afterAll(endAll);

describe('gridring sim', () => {
  it('passes datagrams on, says what it did with them, and ends when it is told to', async () => {
    const target = createSocket('udp4').unref();
    await once(target.bind(0, '127.0.0.1'), 'listening');
    const client = createSocket('udp4').unref();
    const { port } = target.address();
    const sim = start('sim', '--udp', `0:localhost:${port}`, '--duplicate', '100%', '--delay', '1..5ms', '--json');
    const { listen } = (await sim.event('listening')) as unknown as { readonly listen: { readonly port: number } };
    expect(await sim.event('sim-started')).toMatchObject({
      duplicateRate: 1,
      lossRate: 0,
      delayMs: { min: 1, max: 5 },
    });
    const twice = (async () => {
      for (let count = 0; count < 2; count++) await once(target, 'message');
    })();
    client.send('x', listen.port, '127.0.0.1');
    await twice;
    const { code } = await sim.end('SIGINT');
    expect(code).toBe(0);
    expect(sim.events.at(-1)).toMatchObject({ event: 'stopped', forwarded: 2, duplicated: 1, lost: 0 });
  });

  it('says what is wrong with what it is given', async () => {
    const wrong: readonly (readonly [RegExp, ...string[]])[] = [
      [/\[address:\]port:host:port is needed/, '--udp', '70000:127.0.0.1:5683'],
      [/a share such as 20% is needed/, '--udp', '0:127.0.0.1:9', '--loss', '20'],
      [/a range such as 300ms, 50\.\.400ms/, '--udp', '0:127.0.0.1:9', '--delay', '400..50ms'],
      [/no address is known of nobody\.invalid.*\[host-unknown\]/, '--udp', '0:nobody.invalid:9'],
      [/nothing to stand between.*\[route-missing\]/],
    ];
    await Promise.all(
      wrong.map(async ([message, ...args]) => {
        const { code, errors } = await run('sim', ...args);
        expect(errors).toMatch(message);
        expect(code).toBe(2);
      }),
    );
  });
});
