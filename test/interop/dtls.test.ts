/** docs/dtls.md as written there: socat with DTLS before a gateway's CoAP port, and libcoap's client with certificates. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteP256 } from '../../crypto/suite-node.js';
import { initCa, issue } from '../../servients/ca.js';
import { writeIdentity } from '../../servients/identity-files.js';
import { systemNowS } from '../../servients/runtime.js';
import { validateTd } from '../../td/validate-td.js';
import { deploy, type TestDeployment } from '../support/deployment.js';
import { endAll, freePorts } from '../support/processes.js';

const isThere = (name: string, option: string): boolean => spawnSync(name, [option]).error === undefined;
const client = ['coap-client-openssl', 'coap-client-gnutls'].find((name) => isThere(name, '-h'));
const present = client !== undefined && isThere('socat', '-V');
if (!present) {
  const missing = 'DTLS is not tested: on Debian and Ubuntu, apt-get install socat libcoap3-bin';
  if (process.env['CI'] === 'true') throw new Error(missing);
  console.warn(missing);
}

const patienceMs = 25_000;

describe.skipIf(!present)('DTLS before a gateway', () => {
  let d: TestDeployment;
  const fronts: ChildProcess[] = [];
  let log = '';
  let trust: string;
  let dtlsPort: number;

  const file = (...path: readonly string[]): string => join(d.folder, ...path);
  const joined = (name: string, ...paths: readonly string[]): string => {
    writeFileSync(file(name), paths.map((path) => readFileSync(path, 'utf8')).join(''), { mode: 0o600 });
    return file(name);
  };
  const socat = async (listen: string, forward: string): Promise<void> => {
    // A group of its own: it forks for every peer.
    const front = spawn('socat', ['-d', '-d', '-T', '60', listen, forward], { detached: true });
    fronts.push(front);
    await new Promise<void>((resolve) => {
      front.stderr.on('data', (text: Buffer) => {
        log += text.toString();
        if (text.includes('listening on')) resolve();
      });
    });
  };
  const end = async (front: ChildProcess): Promise<void> => {
    const ended = once(front, 'exit');
    // A fork in the midst of a handshake does not hear a SIGTERM.
    process.kill(-(front.pid ?? 0), 'SIGKILL');
    await ended;
  };
  const ask = (
    program: string,
    ...args: readonly string[]
  ): Promise<{ readonly out: string; readonly errors: string }> =>
    new Promise((resolve, reject) => {
      const child = spawn(program, ['-B', '10', ...args]);
      let [out, errors] = ['', ''];
      child.stdout.on('data', (text: Buffer) => (out += text.toString()));
      child.stderr.on('data', (text: Buffer) => (errors += text.toString()));
      child.on('error', reject);
      child.on('close', () => {
        resolve({ out, errors });
      });
    });
  /** The TD, asked for until it comes: socat now and then begins two handshakes with one peer, of which neither ends. */
  const expectTd = (asked: () => ReturnType<typeof ask>): Promise<void> =>
    vi.waitFor(async () => {
      expect(validateTd(JSON.parse((await asked()).out))).toMatchObject({ valid: true });
    }, patienceMs);
  const askOverDtls = (path: string, ...args: readonly string[]) =>
    ask(client ?? '', ...args, '-R', trust, `coaps://127.0.0.1:${String(dtlsPort)}/${path}`);
  const as = (folder: string): readonly string[] => [
    '-c',
    join(folder, 'certificate.pem'),
    '-j',
    join(folder, 'key.pem'),
  ];

  /** Asks until socat says why. */
  const expectRefused = async (asked: () => ReturnType<typeof ask>, why: RegExp): Promise<void> => {
    log = '';
    const askOnce = async (): Promise<void> => {
      expect((await asked()).out).not.toContain('@context');
      await vi.waitFor(() => {
        expect(log).toMatch(why);
      });
    };
    await vi.waitFor(askOnce, patienceMs);
  };

  beforeAll(async () => {
    d = await deploy({ suite: 'p256', meters: 2 });
    const gateway = d.start('gateway');
    const { coapPort } = await gateway.event('gateway-started');
    dtlsPort = await freePorts(2);
    trust = joined('trust.pem', file('ca/root.pem'), file('ca/issuing.pem'));
    const identity = joined('dtls.pem', file('gateway/key.pem'), file('gateway/certificate.pem'));
    await socat(
      `OPENSSL-DTLS-LISTEN:${String(dtlsPort)},bind=127.0.0.1,reuseaddr,fork,cert=${identity},cafile=${trust},verify=1`,
      `UDP:127.0.0.1:${String(coapPort)}`,
    );
  });
  afterAll(async () => {
    for (const front of fronts) await end(front);
    await endAll();
    d.remove();
  });

  it('serves whoever has a certificate of the CA, block by block', async () => {
    const { out } = await askOverDtls('.well-known/wot', ...as(file('meters/meter-01')));
    expect(out.length).toBeGreaterThan(2_000);
    expect(validateTd(JSON.parse(out))).toMatchObject({ valid: true });
    writeFileSync(file('garbage'), Buffer.alloc(3_000, 1));
    const args = ['-m', 'post', '-t', '18', '-f', file('garbage')];
    const refused = await askOverDtls('gateway/actions/enrol', ...args, ...as(file('meters/meter-02')));
    expect(refused.out + refused.errors).toContain('cose-malformed');
  });

  it('answers nobody without a certificate', async () => {
    await expectRefused(() => askOverDtls('.well-known/wot'), /peer did not return a certificate/);
  });

  it('answers nobody with a certificate of another CA', async () => {
    const other = file('other');
    const at = { nowS: systemNowS(), random: randomBytes };
    const ca = initCa(suiteP256, join(other, 'ca'), { name: 'Another', ...at });
    const files = { certificate: join(other, 'certificate.pem'), key: join(other, 'key.pem') };
    writeIdentity(suiteP256, files, issue(ca, { role: 'meter', id: 'meter-01', days: 1, ...at }));
    await expectRefused(() => askOverDtls('.well-known/wot', ...as(other)), /SSL_accept\(\): error/);
  });

  it('is spoken for a client that cannot, if the gateway is the one that was named', async () => {
    const plainPort = dtlsPort + 1;
    const identity = joined('meter.pem', file('meters/meter-01/key.pem'), file('meters/meter-01/certificate.pem'));
    const tunnel = (commonName: string): Promise<void> =>
      socat(
        `UDP-LISTEN:${String(plainPort)},bind=127.0.0.1,reuseaddr,fork`,
        `OPENSSL-DTLS-CLIENT:127.0.0.1:${String(dtlsPort)},cert=${identity},cafile=${trust},verify=1,commonname=${commonName}`,
      );
    const url = `coap://127.0.0.1:${String(plainPort)}/.well-known/wot`;
    await tunnel('gateway');
    await expectTd(() => ask(client ?? '', '-B', '2', url));
    await end(fronts.pop()!);
    await tunnel('another');
    await expectRefused(() => ask(client ?? '', '-B', '1', url), /commonName does not match/);
  });
});
