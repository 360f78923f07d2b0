/** The membership authority at work on real files, with a real backend to publish to. */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { toPem } from '../../crypto/certificate/pem.js';
import {
  changeMembership,
  encodeMembershipBundle,
  encodeMembershipList,
  findEntry,
  parseMembershipBundle,
  signMembershipList,
  verifyMembership,
  type AuthorityList,
  type Membership,
} from '../../crypto/membership.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { runBackend } from '../../servients/backend.js';
import { BackendClient } from '../../servients/backend-client.js';
import { addMembership } from '../../servients/cli/membership.js';
import { provisionDemo } from '../../servients/demo/provision.js';
import { readCertificates, readIdentity } from '../../servients/identity-files.js';
import { readListFile, replaceListFile } from '../../servients/membership/list-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { certify } from '../support/cast.js';
import { openCa } from '../../servients/ca.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-authority-'));
const file = join(folder, 'membership.cbor');
const root = join(folder, 'ca/root.pem');
const kept = (version: string): string => join(folder, `membership-v${version}.cbor`);
const demo = { suite, profile: 'full', speed: 60, sleepy: 0, port: 1_024, seed: 'authority' } as const;
let first: Uint8Array;

const identityIn = (place: string) =>
  readIdentity(suite, { certificate: join(folder, place, 'certificate.pem'), key: join(folder, place, 'key.pem') });

beforeAll(async () => {
  provisionDemo({ folder, meters: 4, ...demo });
  first = new Uint8Array(readFileSync(file));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  for (const name of readdirSync(folder).filter((name) => name.startsWith('membership'))) rmSync(join(folder, name));
  writeFileSync(file, first);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A fresh one for the test that asks for it. */
async function startBackend(): Promise<string> {
  const dataDir = mkdtempSync(join(folder, 'backend/data-'));
  const backend = await runBackend({
    identity: identityIn('backend'),
    suite,
    trustedRoots: readCertificates(suite, root, 'root'),
    dataDir,
    listen: { address: '127.0.0.1', port: 0 },
    audience: 'community',
    version: 'test',
    log: pino({ level: 'silent' }),
  });
  onTestFinished(() => backend.close());
  return backend.url;
}

/** Runs `gridring membership …` here. @returns what it prints; throws what it would report */
function membership(verb: string, ...args: readonly string[]): Promise<string> {
  const isGiven = verb === 'publish' || args.includes('--authority');
  const key = isGiven ? [] : ['--authority', join(folder, 'authority')];
  return carry(verb, ...args, '--file', file, '--root', root, ...key);
}

/** The same, with no more options than are given. */
async function carry(verb: string, ...args: readonly string[]): Promise<string> {
  let printed = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((printed += String(text)), true));
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  addMembership(program);
  await program.parseAsync(['membership', verb, ...args], { from: 'user' });
  return printed;
}

const refusedWith = (...args: Parameters<typeof membership>): Promise<string> => codeOf(membership(...args));

/** Of what is refused. */
const codeOf = async (attempt: Promise<string>): Promise<string> => {
  try {
    await attempt;
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
  throw new Error('was done');
};

const inFile = (): Membership => readListFile(file, root, systemNowS()).membership;
const idsOf = ({ list, certificates }: Membership, role: Parameters<typeof findEntry>[2]): readonly string[] =>
  list.entries.flatMap(({ certHash }, i) => (findEntry(list, certHash, role) ? [certificates[i]!.id] : [])).sort();
const hashOf = (id: string): Uint8Array => {
  const { list, certificates } = inFile();
  return list.entries[certificates.findIndex((certificate) => certificate?.id === id)]!.certHash;
};

/** A certificate of the CA in a file of its own. */
function certificateFile(role: Parameters<typeof certify>[1], id: string): string {
  const path = join(folder, `${id}.pem`);
  writeFileSync(
    path,
    certify(openCa(suite, join(folder, 'ca')), role, id)
      .certificates.map(toPem)
      .join(''),
  );
  return path;
}

/** A list of any content in the file, signed by the authority. */
function putList(change: Partial<AuthorityList>): void {
  const { certificates } = parseMembershipBundle(first);
  const message = signMembershipList(suite, identityIn('authority'), { ...inFile().list, ...change });
  writeFileSync(file, encodeMembershipBundle(message, certificates));
}

const published = async (url: string): Promise<unknown> =>
  JSON.parse(await membership('show', '--url', url, '--audience', 'community', '--json'));

describe('show', () => {
  it('says who is in, in which role, and who reads what', async () => {
    const text = await membership('show');
    expect(text).toContain('version 1,');
    expect(text).toMatch(/urn:gridring:meter:meter-02 +member +[0-9a-f]{16}\n/);
    expect(text).toMatch(/urn:gridring:reader:household-01 +reader +[0-9a-f]{16} {2}reads meter-01\n/);
    expect(JSON.parse(await membership('show', '--json'))).toMatchObject({
      version: 1,
      revision: 0,
      policy: { profile: 'full', minMembers: 2 },
      entries: expect.arrayContaining([
        expect.objectContaining({ id: 'urn:gridring:reader:utility', roles: ['reader'], reads: 'all' }),
      ]) as unknown,
    });
  });

  it('asks a backend for its newest list, and needs to be told the backend’s audience', async () => {
    const url = await startBackend();
    await membership('remove', 'meter-04', '--url', url);
    expect(await published(url)).toMatchObject({ version: 2 });
    expect(await refusedWith('show', '--url', url)).toBe('audience-missing');
  });
});

describe('remove', () => {
  it('revokes a meter with one command: the next list is in the file and at the backend, the one before is kept', async () => {
    const url = await startBackend();
    const text = await membership('remove', 'meter-04', '--url', url);
    expect(text).toContain(`- member meter-04 (`);
    expect(idsOf(inFile(), 'member')).toEqual(['meter-01', 'meter-02', 'meter-03']);
    expect(new Uint8Array(readFileSync(kept('1')))).toEqual(first);
    expect(readFileSync(kept('2'))).toEqual(readFileSync(file));
    expect(await published(url)).toMatchObject({ version: 2, listHash: toHex(inFile().listHash) });
    const { certificates } = parseMembershipBundle(new Uint8Array(readFileSync(file)));
    expect(certificates).toHaveLength(parseMembershipBundle(first).certificates.length - 1);
  });

  it('forgets what the policy said of the meter, and says so', async () => {
    putList({ policy: { ...inFile().list.policy, requiredMembers: [hashOf('meter-01')] } });
    const text = await membership('remove', 'urn:gridring:meter:meter-01');
    expect(text).toContain('note: meter-01 was required in every epoch: from now on a majority must be');
    expect(text).toContain('note: household-01 read meter-01 only, and reads nothing any more');
    const { requiredMembers, readings } = inFile().list.policy;
    expect([requiredMembers, readings.map(({ reader }) => toHex(reader))]).toEqual([[], [toHex(hashOf('utility'))]]);
  });

  it('takes a reader’s rules away with it; a certificate’s hash will do for a name', async () => {
    const text = await membership('remove', toHex(hashOf('household-01')).slice(0, 12));
    expect(text).toContain('  - household-01 no longer reads meter-01\n');
    expect(inFile().list.policy.readings).toHaveLength(1);
  });

  it('leaves no group without the members that its policy asks for', async () => {
    putList({ policy: { ...inFile().list.policy, minMembers: 4 } });
    expect(await refusedWith('remove', 'meter-01')).toBe('too-few-members');
    expect(await membership('remove', 'gateway')).toContain('note: no gateway is left that could coordinate an epoch');
  });

  it('finds nobody by an unknown name, and asks back where a name is two', async () => {
    expect(await refusedWith('remove', 'meter-99')).toBe('entry-unknown');
    await membership('add', certificateFile('operator', 'meter-01'));
    expect(await refusedWith('remove', 'meter-01')).toBe('entry-ambiguous');
    await membership('remove', 'urn:gridring:operator:meter-01');
    expect(idsOf(inFile(), 'operator')).toEqual(['operator']);
  });
});

describe('add', () => {
  it('takes in the holder of a certificate, whose role the certificate says', async () => {
    await membership('add', certificateFile('meter', 'meter-05'), '--role', 'member');
    await membership('add', certificateFile('operator', 'dispatcher'));
    expect(idsOf(inFile(), 'member')).toContain('meter-05');
    expect(idsOf(inFile(), 'operator')).toEqual(['dispatcher', 'operator']);
    expect(inFile().list.version).toBe(3);
  });

  it('takes a reader with its HPKE key and what it reads', async () => {
    const auditor = certificateFile('reader', 'auditor');
    const hpkeKey = toBase64Url(suite.agreementKey(new Uint8Array(32).fill(7)).hpkePublicKey);
    expect(await refusedWith('add', auditor, '--reads', 'all')).toBe('reader-incomplete');
    expect(await refusedWith('add', auditor, '--hpke-key', hpkeKey, '--reads', 'meter-01,utility')).toBe(
      'entry-unknown',
    );
    await membership('add', auditor, '--hpke-key', hpkeKey, '--reads', 'meter-01,meter-03');
    const { list } = inFile();
    const rule = list.policy.readings.at(-1);
    expect([toHex(rule!.reader), rule!.meters!.map(toHex)]).toEqual([
      toHex(hashOf('auditor')),
      ['meter-01', 'meter-03'].map((id) => toHex(hashOf(id))),
    ]);
    expect(toBase64Url(findEntry(list, hashOf('auditor'), 'reader')!.entry.hpkeKey!)).toBe(hpkeKey);
  });

  it('takes nobody whose certificate is of another CA, of another role, or in the list already', async () => {
    const meter = certificateFile('meter', 'meter-06');
    expect(await refusedWith('add', meter, '--role', 'operator')).toBe('certificate-role');
    expect(await refusedWith('add', certificateFile('backend', 'backend-2'))).toBe('certificate-role');
    expect(await refusedWith('add', join(folder, 'meters/meter-01/certificate.pem'))).toBe('already-listed');
    const elsewhere = join(folder, 'elsewhere');
    provisionDemo({ folder: elsewhere, meters: 2, ...demo });
    expect(await refusedWith('add', join(elsewhere, 'meters/meter-01/certificate.pem'))).toBe('certificate-untrusted');
    await membership('add', meter);
    expect(await membership('add', certificateFile('meter', 'meter-06'))).toContain(
      'meter-06 has another certificate in the list',
    );
  });

  it('signs no list that no ring could hold, and says what to do', async () => {
    const many = Array.from({ length: 60 }, (_, i) => ({
      certHash: suite.sha256(Uint8Array.of(i)),
      roles: 1,
      hpkeKey: null,
    }));
    putList({ entries: [...inFile().list.entries, ...many] });
    const one = certificateFile('meter', 'meter-65');
    expect(await refusedWith('add', one, '--dry-run')).toBe('members-too-many');
    await expect(membership('add', one)).rejects.toThrow(/split the group into cells/);
    expect(inFile().list.version).toBe(1);
  });
});

describe('policy and renew', () => {
  it('change what the group lives by, and nothing else', async () => {
    const before = inFile().list;
    const rules = ['--profile', 'constrained', '--rekey-interval', '15m', '--min-members', '3', '--grace', '90s'];
    const text = await membership('policy', ...rules);
    expect(text.match(/^ {2}\* .*$/gm)).toEqual([
      '  * profile constrained',
      '  * at least 3 members',
      '  * a new key every 15m',
      '  * the old key receives for 90s',
    ]);
    const { policy, entries } = inFile().list;
    expect(policy).toEqual({
      ...before.policy,
      profile: 'constrained',
      rekeyIntervalS: 900,
      minMembers: 3,
      graceS: 90,
    });
    expect(entries).toEqual(before.entries);
    expect(await refusedWith('policy', ...rules)).toBe('nothing-changes');
    expect(await refusedWith('policy', '--min-members', '5')).toBe('too-few-members');
  });

  it('give a list that has expired a new end', async () => {
    const list = { notBeforeS: systemNowS() - 9_000, notAfterS: systemNowS() - 3_600 };
    putList(list);
    expect(await refusedWith('remove', 'meter-04')).toBe('membership-expired');
    await membership('renew', '--days', '10');
    expect(inFile().list.notAfterS).toBeGreaterThan(systemNowS() + 9 * 86_400);
    expect(await refusedWith('renew', '--days', '5')).toBe('nothing-changes');
  });
});

describe('delegate', () => {
  const check = () => ({ suite, trustedRoots: readCertificates(suite, root, 'root'), nowS: systemNowS() });

  it('lets one gateway do what was named, for so long, and no more', async () => {
    const spare = certificateFile('meter', 'spare-1');
    const text = await membership(
      'delegate',
      '--gateway',
      'gateway',
      '--days',
      '3',
      '--allow-removals',
      '--add',
      spare,
    );
    expect(text).toContain('* it may add spare-1 (');
    const bundle = new Uint8Array(readFileSync(file));
    const gateway = identityIn('gateway');
    const [spareHash] = readCertificates(suite, spare, 'spare').map(({ certHash }) => certHash);
    const changes = { revision: 1, removals: [hashOf('meter-02')], additions: [spareHash!] };
    const changed = verifyMembership(check(), changeMembership(suite, gateway, bundle, changes));
    expect(idsOf(changed, 'member')).toEqual(['meter-01', 'meter-03', 'meter-04', 'spare-1']);
    expect(() =>
      verifyMembership(check(), changeMembership(suite, identityIn('meters/meter-01'), bundle, changes)),
    ).toThrow(/another than the gateway/);
    expect(await membership('show')).toMatch(/^allows {2}gateway to remove members, add [0-9a-f]{16} until /m);
    expect(await membership('remove', 'meter-01')).toContain(
      'note: the delegation of the list before ends with this one',
    );
    expect(inFile().delegation).toBeUndefined();
  });

  it('needs a gateway, a time to come, and something to allow', async () => {
    const days = ['--days', '3'];
    expect(await refusedWith('delegate', '--gateway', 'meter-01', '--allow-removals', ...days)).toBe('not-listed');
    expect(await refusedWith('delegate', '--gateway', 'gateway', '--allow-removals')).toBe('delegation-time');
    const past = ['--until', '2026-01-01T00:00:00Z'];
    expect(await refusedWith('delegate', '--gateway', 'gateway', '--allow-removals', ...past)).toBe('delegation-time');
    expect(await refusedWith('delegate', '--gateway', 'gateway', ...days)).toBe('nothing-changes');
    const reader = certificateFile('reader', 'reader-2');
    expect(await refusedWith('delegate', '--gateway', 'gateway', ...days, '--add', reader)).toBe('certificate-role');
  });

  it('is undone by the next list, which fetch lets begin with what the gateway has changed', async () => {
    const url = await startBackend();
    await membership('delegate', '--gateway', 'gateway', '--days', '3', '--allow-removals', '--url', url);
    const gateway = identityIn('gateway');
    const changes = { revision: 1, removals: [hashOf('meter-02')], additions: [] };
    const changed = changeMembership(suite, gateway, new Uint8Array(readFileSync(file)), changes);
    const { trustedRoots } = check();
    await new BackendClient({ suite, trustedRoots, url: url }).publishMembership(changed);
    await membership('fetch', '--url', url, '--audience', 'community');
    expect(existsSync(kept('2.1'))).toBe(true);
    expect(inFile().list).toMatchObject({ version: 2, revision: 1 });
    const text = await membership('policy', '--grace', '1m', '--url', url);
    expect(text).toContain('note: what the gateway changed under its delegation is part of this list');
    expect(idsOf(inFile(), 'member')).toEqual(['meter-01', 'meter-03', 'meter-04']);
    expect(inFile().list).toMatchObject({
      version: 3,
      revision: 0,
      notAfterS: readListFile(kept('1'), root, systemNowS()).list.notAfterS,
    });
    expect(await published(url)).toMatchObject({ version: 3 });
  });
});

describe('nothing is lost', () => {
  it('--dry-run says what would change without the key, and changes nothing', async () => {
    const names = readdirSync(folder);
    const text = await membership(
      'remove',
      'meter-04',
      '--dry-run',
      '--url',
      'http://127.0.0.1:9',
      '--authority',
      '/nowhere',
    );
    expect(text).toContain('list 2 of group');
    expect(text).toContain('would be signed');
    expect([readdirSync(folder), new Uint8Array(readFileSync(file))]).toEqual([names, first]);
  });

  it('when the backend is away: the list is signed and kept, and can be published later', async () => {
    const url = await startBackend();
    expect(await refusedWith('remove', 'meter-04', '--url', 'http://127.0.0.1:9')).toBe('backend-unreachable');
    expect(inFile().list.version).toBe(2);
    expect(await membership('publish', '--url', url)).toContain(`published to ${url}`);
    expect(await published(url)).toMatchObject({ version: 2 });
  });

  it('when two sign at once: one list of a version is kept, and the other refused', () => {
    const older = readListFile(file, root, systemNowS());
    const newer = (graceS: number) => {
      const { list } = older;
      const message = signMembershipList(suite, identityIn('authority'), {
        ...list,
        version: 2,
        policy: { ...list.policy, graceS },
      });
      const bundle = encodeMembershipBundle(message, parseMembershipBundle(first).certificates);
      return { bundle, membership: verifyMembership({ ...older, nowS: systemNowS() }, bundle) };
    };
    const [one, two] = [newer(1), newer(2)];
    replaceListFile(file, older, one);
    expect(() => replaceListFile(file, older, two)).toThrow(/another list of this version/);
    expect(inFile().listHash).toEqual(one.membership.listHash);
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  it('when a run is cut off after it has signed: the next one goes on from that list', async () => {
    await membership('remove', 'meter-04');
    copyFileSync(kept('1'), file);
    await membership('policy', '--grace', '1m');
    expect(inFile().list.version).toBe(3);
    expect(idsOf(inFile(), 'member')).not.toContain('meter-04');
  });

  it('nor is anything signed by another key than an authority’s, or from a file that does not verify', async () => {
    expect(await refusedWith('remove', 'meter-04', '--authority', join(folder, 'gateway'))).toBe('certificate-role');
    writeFileSync(file, first.with(300, first[300]! ^ 1));
    expect(await refusedWith('remove', 'meter-04')).toBe('membership-unusable');
    rmSync(file);
    expect(await refusedWith('show')).toBe('file-unreadable');
  });
});

describe('signing where the key is, and no network', () => {
  const request = join(folder, 'request.json');
  const signedFile = join(folder, 'request.signed.cbor');
  const carried = ['--root', root, '--authority', join(folder, 'authority'), '--yes'];
  const signIt = (file = request, ...more: readonly string[]): Promise<string> =>
    carry('sign', file, ...carried, ...more);
  const prepare = (...verb: readonly [string, ...string[]]): Promise<string> =>
    membership(...verb, '--export', request, '--authority', join(folder, 'no-such-key'));
  afterEach(() => {
    rmSync(join(folder, 'authority/signed'), { recursive: true, force: true });
  });

  it('a change is prepared without the key, shown in words made from the lists, signed, and brought back', async () => {
    const url = await startBackend();
    expect(await prepare('remove', 'meter-03')).toContain('list 2 of group');
    expect(inFile().list.version).toBe(1);
    const text = await signIt();
    expect(text).toMatch(/^ {2}- member meter-03 \([0-9a-f]{64}\)$/m);
    await membership('publish', '--signed', signedFile, '--url', url);
    expect(idsOf(inFile(), 'member')).toEqual(['meter-01', 'meter-02', 'meter-04']);
    expect(await published(url)).toMatchObject({ version: 2 });
    await membership('publish', '--signed', signedFile, '--url', url);
  });

  it('what is shown is what is signed, whatever else the file holds', async () => {
    await prepare('remove', 'meter-03');
    const honest = JSON.parse(readFileSync(request, 'utf8')) as { list: string };
    const current = inFile().list;
    const evil = {
      ...current,
      version: 2,
      policy: { ...current.policy, readings: [{ reader: hashOf('household-01'), meters: null }] },
    };
    const change = (fields: object): void => {
      writeFileSync(request, JSON.stringify({ ...honest, ...fields }));
    };
    change({ list: toBase64Url(encodeMembershipList(evil)) });
    expect(await signIt()).toContain('+ household-01 reads all meters');
    change({ says: 'removes meter-03' });
    expect(await codeOf(signIt())).toBe('request-unusable');
    change({ list: toBase64Url(encodeMembershipList({ ...evil, version: 3 })) });
    expect(await codeOf(signIt())).toBe('request-unusable');
    change({ base: toBase64Url(first.map((byte, i) => (i === 300 ? byte ^ 1 : byte))) });
    expect(await codeOf(signIt())).toBe('request-unusable');
  });

  it('asks before it signs, and somebody must be there to answer', async () => {
    await prepare('remove', 'meter-03');
    expect(await codeOf(carry('sign', request, ...carried.filter((option) => option !== '--yes')))).toBe(
      'confirmation-needed',
    );
    expect(existsSync(join(folder, 'authority/signed'))).toBe(false);
  });

  it('signs one list of a version, however often it is asked, and no other one', async () => {
    const [other, otherSigned] = [join(folder, 'other.json'), join(folder, 'other.signed.cbor')];
    await prepare('remove', 'meter-03');
    await membership('remove', 'meter-04', '--export', other);
    await signIt();
    const once = readFileSync(signedFile);
    await signIt();
    expect(readFileSync(signedFile)).toEqual(once);
    expect(await codeOf(signIt(other))).toBe('base-moved');
    expect(existsSync(otherSigned)).toBe(false);
  });

  it('a list that was made from another one than the file’s takes its place in nothing', async () => {
    const url = await startBackend();
    await prepare('remove', 'meter-03');
    await signIt();
    await membership('renew', '--days', '900');
    expect(await codeOf(membership('publish', '--signed', signedFile, '--url', url))).toBe('base-moved');
    expect(inFile().list.entries).toHaveLength(8);
  });
});
