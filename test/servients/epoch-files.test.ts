import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { judge, signVerdict } from '../../crypto/ring/blame.js';
import { closeShares, onToken } from '../../crypto/ring/coordinator.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { onRoster } from '../../crypto/ring/member.js';
import { encodeProof } from '../../crypto/ring/proof.js';
import { suiteP256 } from '../../crypto/suite-node.js';
import { verifyProofFile, verifyVerdicts } from '../../servients/cli/epoch-files.js';
import { makeThing } from '../../td/make-td.js';
import { at, flipped, resignToken, tokenEntries } from '../support/forge.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { play, throughConfirmations, throughShares } from '../support/ring.js';

const n = makeNeighbourhood(suiteP256, 4);
const folder = mkdtempSync(join(tmpdir(), 'gridring-epoch-'));
const file = (name: string, bytes: Uint8Array | string): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};
const root = file('root.pem', toPem(n.root.der));
const membership = file('membership.cbor', n.bundle(n.list()));

let out = '';
beforeAll(() => {
  vi.useFakeTimers({ now: (nowS + 86_400) * 1000, toFake: ['Date'] });
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      out += String(text);
      return true;
    });
  }
});
afterEach(() => {
  out = '';
  process.exitCode = undefined;
});
afterAll(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const { name, record } = throughConfirmations(n).published;
const proof = encodeProof({
  membership: n.bundle(n.list()),
  record,
  endorsement: encodeEndorsementBundle(signEndorsement(n.suite, n.backend, name, record), [
    n.backend.certificate.der,
    at(n.certificates, 0),
  ]),
});

/** The third meter opens another number than it committed to; the gateway signs that. */
function makeVerdict(): Uint8Array {
  const context = n.coordinatorContext();
  const { players, collecting } = throughShares(n);
  const roster = closeShares(context, collecting);
  let state: ReturnType<typeof onToken> = roster;
  for (const player of players) {
    const token = play(player, onRoster, roster.rosterMessage);
    const isLiar = player.principal === n.meters[2];
    const sent = isLiar
      ? resignToken(n, roster.ring, player.principal, token, ({ opening }) => ({ opening: flipped(opening) }))
      : token;
    if (state.kind === 'tokens') state = onToken(context, state, sent);
  }
  if (state.kind !== 'inconsistent') throw new Error(`it ended in ${state.kind}`);
  const { ring, announcementMessage, rosterMessage, signedTokensMessage } = state;
  const judgement = judge(n.suite, ring, tokenEntries(state), new Map());
  if (!judgement) throw new Error('nobody was found guilty');
  const evidence = [announcementMessage, rosterMessage, signedTokensMessage] as const;
  return signVerdict(n.suite, n.gateway, ring.th1, { ...judgement, sid: ring.sid, evidence, reveals: [] });
}

it('a proof is verified from its file and the root; one meter may be asked for', () => {
  verifyProofFile(file('proof.cbor', proof), { root, meter: 'meter-04' });
  expect(process.exitCode).toBeUndefined();
  expect(out).toMatch(/^epoch 1, attempt 1, of group [0-9a-f]{32}: the proof verifies\n/);
  expect(out).toMatch(
    /endorsement +signed by urn:gridring:backend:backend-1 for this record\nyes: meter-04 holds the key\n$/,
  );
});

it('a proof that does not verify is a finding with exit code 1, named by the check', () => {
  const forged = file('forged.cbor', flipped(proof, 8 * (proof.length - 600)));
  verifyProofFile(forged, { root, json: true });
  expect(process.exitCode).toBe(1);
  expect(JSON.parse(out)).toMatchObject({ event: 'error', message: expect.stringMatching(/^endorsement: /) as string });
});

it('a proof under another root is a finding too; a file that is not there is wrong use', () => {
  const elsewhere = makeNeighbourhood(suiteP256, 2, 'elsewhere');
  verifyProofFile(file('proof.cbor', proof), { root: file('other.pem', toPem(elsewhere.root.der)) });
  expect([process.exitCode, out]).toEqual([1, expect.stringContaining('[certificate-untrusted]')]);
  mkdirSync(join(folder, 'folder'));
  for (const path of [join(folder, 'nothing'), join(folder, 'folder'), file('large', new Uint8Array(400_000))]) {
    expect(() => {
      verifyProofFile(path, { root });
    }).toThrow(expect.objectContaining({ code: 'file-unreadable' }) as Error);
  }
});

it('a verdict is judged again from its file, the list and the root', async () => {
  const verdict = file('verdict.cose', makeVerdict());
  await verifyVerdicts(verdict, { root, membership });
  expect(process.exitCode).toBeUndefined();
  expect(out).toMatch(/^epoch 1, attempt 1, of group [0-9a-f]{32}: the verdict verifies\n/);
  expect(out).toMatch(/signed by +urn:gridring:gateway:gw-1\naccused +meter-03: it opened another number/);
  out = '';
  await verifyVerdicts(verdict, { root, membership, json: true });
  expect(JSON.parse(out)).toMatchObject({ accused: [{ id: 'urn:gridring:meter:meter-03', accusation: 'commitment' }] });
});

it('a verdict that was altered, or is held against another list, is a finding', async () => {
  const verdict = makeVerdict();
  await verifyVerdicts(file('altered', flipped(verdict, 8 * (verdict.length - 1))), { root, membership });
  expect([process.exitCode, out]).toEqual([1, expect.stringContaining('[signature-invalid]')]);
  out = '';
  const newer = file('newer.cbor', n.bundle(n.list({ version: 2 })));
  await verifyVerdicts(file('verdict', verdict), { root, membership: newer });
  expect([process.exitCode, out]).toEqual([1, expect.stringContaining('[membership-unknown]')]);
});

describe('the verdicts of a gateway', () => {
  let gateway: Server;
  let origin: string;
  let shown: unknown;
  beforeAll(async () => {
    gateway = createServer((request, response) => {
      const td = makeThing('gateway', { id: 'urn:gridring:gateway:gw-1', title: 'gw-1', version: '1' });
      const verdicts = { forms: [{ href: 'gw-1/properties/verdicts' }] };
      const { verdicts: shape } = td.properties ?? {};
      const described = {
        ...td,
        base: `${origin}/`,
        properties: { verdicts: { ...shape, ...verdicts } },
        actions: {},
        events: {},
      };
      response.end(JSON.stringify(request.url === '/.well-known/wot' ? described : shown));
    });
    await once(gateway.listen(0, '127.0.0.1'), 'listening');
    origin = `http://127.0.0.1:${String((gateway.address() as AddressInfo).port)}`;
  });
  afterAll(() => gateway.close());

  it('are fetched by its Thing Description, and each is judged by itself', async () => {
    const verdict = makeVerdict();
    const show = (message: Uint8Array): object => ({
      gid: toHex(n.gid),
      epoch: 1,
      attempt: 1,
      time: new Date(nowS * 1000).toISOString(),
      message: toBase64Url(message),
    });
    shown = { verdicts: [show(verdict), show(flipped(verdict, 8 * (verdict.length - 1)))] };
    await verifyVerdicts(undefined, { root, membership, gateway: origin });
    expect(out).toMatch(/accused +meter-03: .*\n.*\[signature-invalid\]\n$/);
    expect(process.exitCode).toBe(1);
  });

  it('may be none; and what is no list of verdicts is refused', async () => {
    shown = { verdicts: [] };
    await verifyVerdicts(undefined, { root, membership, gateway: origin });
    expect(out).toBe('the gateway shows no verdict\n');
    for (const value of [{}, { verdicts: [{ message: 'AAAA' }] }, 'verdicts']) {
      shown = value;
      const refused = verifyVerdicts(undefined, { root, membership, gateway: origin });
      await expect(refused).rejects.toMatchObject({ code: 'message-malformed' });
    }
    const nowhere = verifyVerdicts(undefined, { root, membership, gateway: 'http://127.0.0.1:9' });
    await expect(nowhere).rejects.toMatchObject({ code: 'gateway-unreachable' });
    await expect(verifyVerdicts(undefined, { root, membership })).rejects.toMatchObject({ code: 'verdict-needed' });
  });
});
