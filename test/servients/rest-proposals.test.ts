/** Operators' proposals to the authority: over the REST API of a real backend, and from the command line to a signed list. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import { makeProposal, parseProposal, verifyProposal, type ProposalTerms } from '../../crypto/proposal.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { runBackend, type RunningBackend } from '../../servients/backend.js';
import { addGrant } from '../../servients/cli/grant.js';
import { addMembership } from '../../servients/cli/membership.js';
import { addProposal } from '../../servients/cli/proposal.js';
import { provisionDemo, type Deployment } from '../../servients/demo/provision.js';
import { readCertificates, readIdentity } from '../../servients/identity-files.js';
import type { ProposalStore } from '../../things/proposal-store.js';
import { Proposals } from '../../things/proposals.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { codeOf, jsonOf, runVerb } from '../support/verbs.js';
import { expectFits, expectProblem, startBackend, type Answer, type TestBackend } from './rest-server.js';

describe.each([suiteX25519, suiteP256])('a proposal, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 3);
  const terms: ProposalTerms = {
    ...{ gid: n.gid, kind: 'revoke', subject: n.meters[2]!.certHash, meters: null },
    ...{ madeS: nowS, expiresS: nowS + 3_600 },
  };
  const gid = toHex(n.gid);
  const path = `/api/v1/groups/${gid}/proposals`;
  let backend: TestBackend;
  beforeAll(async () => {
    backend = await startBackend(n);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
  });
  afterAll(() => backend.remove());
  const propose = (by: Principal, change: Partial<ProposalTerms> = {}): Promise<Answer> =>
    backend.call('POST', path, { as: n.operator, body: makeProposal(suite, by, { ...terms, ...change }) });

  it('of an operator is kept once, logged, shown, and done when a signed list does it', async () => {
    const first = await propose(n.operator);
    expect(first.status).toBe(200);
    expectFits('proposal', first.body);
    expect(first.body).toMatchObject({ kind: 'revoke', state: 'open', certHash: toHex(terms.subject) });
    const again = await propose(n.operator);
    const { id, message } = again.body as { readonly id: string; readonly message: string };
    expect(parseProposal(suite, fromBase64Url(message)).operator).toEqual(n.operator.certHash);
    const { body: page } = await backend.call('GET', path, { as: n.utility });
    expectFits('proposal-page', page);
    expect((page as { readonly proposals: readonly object[] }).proposals).toHaveLength(1);
    const { body: log } = await backend.call('GET', '/api/v1/audit?action=proposal.take', { as: n.operator });
    expect((log as { readonly entries: readonly object[] }).entries).toMatchObject([
      { subject: id, details: { kind: 'revoke', operator: toHex(n.operator.certHash) } },
    ]);
    await backend.call('POST', '/api/v1/memberships', {
      body: n.bundle(n.list({ version: 2, without: [n.meters[2]!] })),
    });
    const location = String(again.headers.get('location'));
    expect((await backend.call('GET', location, { as: n.utility })).body).toMatchObject({ id, state: 'done' });
  });

  it('of nobody who may, of another time, group or form is refused, and nothing is kept', async () => {
    const grant = { kind: 'grant', subject: n.household.certHash } as const;
    const forged = { ...n.operator, signer: n.meters[0]!.signer };
    const cases = [
      [403, 'refused', n.meters[0]!, {}],
      [403, 'refused', forged, { expiresS: nowS + 60 }],
      [409, 'target-unknown', n.operator, { subject: n.household.certHash }],
      [409, 'target-unknown', n.operator, { ...grant, subject: n.meters[0]!.certHash }],
      [409, 'target-unknown', n.operator, { ...grant, meters: [n.household.certHash] }],
      [409, 'proposal-expired', n.operator, { madeS: nowS - 9, expiresS: nowS - 1 }],
      [409, 'proposal-early', n.operator, { madeS: nowS + 999, expiresS: nowS + 1_000 }],
      [409, 'wrong-group', n.operator, { gid: new Uint8Array(16) }],
      [400, 'message-malformed', n.operator, { expiresS: nowS + 2_592_001 }],
      [400, 'message-malformed', n.operator, { meters: [n.meters[0]!.certHash] }],
      [400, 'message-malformed', n.operator, { ...grant, meters: [] }],
    ] as const;
    const count = async (): Promise<number> =>
      ((await backend.call('GET', path, { as: n.utility })).body as { proposals: readonly object[] }).proposals.length;
    const before = await count();
    for (const [status, code, by, change] of cases) expectProblem(await propose(by, change), status, code);
    expectProblem(await backend.call('POST', path, { as: n.operator, body: new Uint8Array(9) }), 400, 'cose-malformed');
    const message = makeProposal(suite, n.operator, { ...terms, ...grant });
    message[message.length - 1]! ^= 1;
    expectProblem(await backend.call('POST', path, { as: n.operator, body: message }), 403, 'refused');
    expectProblem(await backend.call('GET', `${path}/${'0'.repeat(64)}`, { as: n.utility }), 404, 'proposal-unknown');
    expect(await count()).toBe(before);
  });

  it('is for its group alone: brought to another address it is not kept, and not without a line in the log', async () => {
    const message = makeProposal(suite, n.operator, { ...terms, expiresS: nowS + 1_800 });
    const elsewhere = `/api/v1/groups/${'00'.repeat(16)}/proposals`;
    expectProblem(await backend.call('POST', elsewhere, { as: n.operator, body: message }), 409, 'wrong-group');
    const { id } = parseProposal(suite, message);
    expectProblem(await backend.call('GET', `${path}/${toHex(id)}`, { as: n.utility }), 404, 'proposal-unknown');
  });

  it('means whoever it names, under whatever certificate that one has meanwhile', () => {
    const subject = n.meters[2]!;
    const fresh = n.certify('meter', subject.certificate.id, { seed: 'renewed' });
    const membership = n.membership(n.renewed(n.list(), 2, [subject, fresh]), [fresh]);
    const message = makeProposal(suite, n.operator, terms);
    expect(verifyProposal({ suite, membership, nowS }, message).subject).toEqual(fresh.certHash);
    const proposals = new Proposals({
      suite,
      nowS: () => nowS,
      membershipOf: () => membership,
      store: {} as ProposalStore,
    });
    const { id, gid } = parseProposal(suite, message);
    expect(proposals.shown({ id, gid, message, takenS: nowS, expiresS: terms.expiresS }).state).toBe('open');
  });

  it('counts by its signature and the newest list alone, wherever it comes from', () => {
    const message = makeProposal(suite, n.operator, terms);
    const check = { suite, membership: n.membership(), nowS };
    expect(verifyProposal(check, message)).toMatchObject({ kind: 'revoke', meters: null });
    const others = makeNeighbourhood(suite, 3, 'others');
    expect(() => verifyProposal({ ...check, membership: others.membership() }, message)).toThrow('another group');
  });
});

describe('gridring proposal', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-proposal-'));
  const at = (place: string): string => join(folder, place);
  const suite = suiteX25519;
  let backend: RunningBackend;
  let demo: Deployment;
  let common: readonly string[];
  beforeAll(async () => {
    demo = provisionDemo({
      ...{ folder, meters: 3, suite, profile: 'full', speed: 60, sleepy: 0, port: 1_024, seed: 'proposal' },
    });
    const files = { certificate: at('backend/certificate.pem'), key: at('backend/key.pem') };
    const { audience } = JSON.parse(readFileSync(demo.configs.backend, 'utf8')) as { readonly audience: string };
    backend = await runBackend({
      ...{ identity: readIdentity(suite, files), suite, dataDir: at('data'), audience, version: 'test' },
      trustedRoots: readCertificates(suite, at('ca/root.pem'), 'root'),
      ...{ listen: { address: '127.0.0.1', port: 0 }, log: pino({ level: 'silent' }) },
    });
    await runVerb(addMembership, 'membership', 'publish', ...list(), '--url', backend.url);
    common = ['--reader', demo.readers.utility, '--backend', backend.url];
  });
  afterAll(async () => {
    await backend.close();
    rmSync(folder, { recursive: true });
  });
  const list = (): readonly string[] => ['--file', at('membership.cbor'), '--root', at('ca/root.pem')];
  const signing = (): readonly string[] => [...common, ...list(), '--authority', at('authority')];
  const operator = (): readonly string[] => ['--operator', at('operator'), '--backend', backend.url];

  it('brings what an operator asks for to the authority, whose next list does all that is open', async () => {
    await runVerb(addProposal, 'proposal', 'revoke', 'meter-03', ...operator());
    await runVerb(addProposal, 'proposal', 'grant', 'household-01', '--meters', 'meter-02', ...operator());
    const shown = await runVerb(addProposal, 'proposal', 'ls', ...common);
    expect(shown).toMatch(/open +take meter-03 out +operator/);
    expect(shown).toMatch(/open +let household-01 read meter-02 +operator/);
    expect(await runVerb(addProposal, 'proposal', 'accept', ...signing(), '--dry-run')).toContain('- member meter-03');
    const signed = await runVerb(addProposal, 'proposal', 'accept', ...signing());
    expect(signed).toMatch(/- member meter-03/);
    expect(signed).toMatch(/household-01 reads meter-02/);
    expect(await jsonOf(addProposal, 'proposal', 'ls', ...common)).toMatchObject({ state: 'done' });
    expect(await codeOf(runVerb(addProposal, 'proposal', 'accept', ...signing()))).toBe('nothing-changes');
    expect(await runVerb(addGrant, 'grant', 'ls', ...common)).toMatch(/household-01 +meter-01, meter-02/);
  });

  it('is refused to whom the list does not name as an operator, and for whom it does not name', async () => {
    expect(await codeOf(runVerb(addProposal, 'proposal', 'revoke', 'meter-77', ...operator()))).toBe('entry-unknown');
    expect(await codeOf(runVerb(addProposal, 'proposal', 'accept', 'ffff', ...signing()))).toBe('proposal-unknown');
  });
});
