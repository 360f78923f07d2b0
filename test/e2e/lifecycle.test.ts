/** The life of a group at the command line, beside a running backend, gateway and meters. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteByName } from '../../crypto/suite-node.js';
import { addCa } from '../../servients/cli/ca.js';
import { addCommand } from '../../servients/cli/command.js';
import { addGrant } from '../../servients/cli/grant.js';
import { addGroup } from '../../servients/cli/group.js';
import { addIncident } from '../../servients/cli/incident.js';
import { addMembership } from '../../servients/cli/membership.js';
import { addRoles } from '../../servients/cli/roles.js';
import { backendOf } from '../../servients/chain-client.js';
import { readIdentity } from '../../servients/identity-files.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { nextSigner } from '../../servients/renewal-files.js';
import { invitationText, parseInvitation } from '../../servients/lifecycle/invitation.js';
import { deploy, eventually, type TestDeployment } from '../support/deployment.js';
import { endAll, start } from '../support/processes.js';
import { codeOf, jsonOf, runVerb } from '../support/verbs.js';

let d: TestDeployment;
const at = (place: string): string => join(d.folder, place);
const reader = (name: 'utility' | 'household' = 'utility'): readonly string[] => ['--reader', d.readers[name]];
const list = (): readonly string[] => ['--file', d.membership, '--root', at('ca/root.pem')];
const authority = (): readonly string[] => [...list(), '--authority', at('authority')];
const operator = (): readonly string[] => ['--operator', at('operator')];

beforeAll(async () => {
  d = await deploy({ meters: 4 });
  d.configure('meter', (config) => ({ ...config, meters: slowly(config['meters']) }));
  await runVerb(addCa, 'ca', 'issue', '--dir', at('ca'), '--role', 'operator', '--id', 'ops', '--out', at('operator'));
  await runVerb(addMembership, 'membership', 'add', at('operator/certificate.pem'), ...authority());
  d.configure('gateway', (config) => ({ ...config, group: { windowMs: 2_000 } }));
  const backend = d.start('backend');
  await backend.event('backend-started');
  nextSigner(suiteByName(d.suite), { certificate: '', key: at('gateway/key.pem') }, randomBytes);
  const gateway = d.start('gateway');
  await gateway.event('gateway-started');
  d.start('meter');
  await gateway.event('epoch');
});
afterAll(async () => {
  await endAll();
  d.remove();
});

/** No more readings than are needed. */
const slowly = (meters: unknown): unknown =>
  (meters as readonly { readonly source: object }[]).map((meter) => ({
    ...meter,
    source: { ...meter.source, speed: 60 },
  }));

interface Status {
  readonly epoch: { readonly epoch: number } | null;
  readonly listVersion: number;
  readonly members: readonly { readonly id: string; readonly holdsKey: boolean }[];
  readonly behind: readonly string[];
  readonly nextLeavesOut: readonly { readonly id: string }[];
}
const status = async (): Promise<Status> => {
  const { gid } = await jsonOf<{ readonly gid: string }>(addMembership, 'membership', 'show', ...list());
  return jsonOf<Status>(addGroup, 'group', 'status', '--group', gid, ...reader());
};

interface Commanded {
  readonly id: string;
  readonly done: number;
  readonly targets: readonly { readonly meter: string; readonly state: string }[];
}

describe('command', () => {
  const send = (...words: readonly string[]): Promise<Commanded> =>
    jsonOf<Commanded>(addCommand, 'command', ...words, '--wait', '60s', ...operator());

  it('has meters do what an operator says, through backend and gateway, and shows what they signed', async () => {
    const sent = await eventually(() => send('meter-01', 'meter-02', 'set-reading-interval', '2m'));
    expect(sent).toMatchObject({ done: 2 });
    expect(sent.targets.map(({ state }) => state)).toEqual(['done', 'done']);
    const status = await jsonOf<Commanded>(addCommand, 'command', 'status', sent.id, ...operator());
    expect(status).toEqual(sent);
    const sequence = (): number =>
      (JSON.parse(readFileSync(at('operator/commands.json'), 'utf8')) as { readonly sequence: number }).sequence;
    const before = sequence();
    expect((await send('all', 'ping')).done).toBe(4);
    expect(sequence()).toBeGreaterThan(before);
  });

  it('says what is wrong with it, and who is no member of the epoch', async () => {
    const refused = (...words: readonly string[]): Promise<string> =>
      codeOf(runVerb(addCommand, 'command', ...words, ...operator()));
    expect(await refused('meter-99', 'ping')).toBe('meter-unknown');
    expect(await refused('meter-01', 'set-reading-interval', 'soon')).toBe('command-usage');
    expect(await refused('ping')).toBe('command-usage');
    expect(await refused('status', 'x')).toBe('id-invalid');
  });
});

describe('group', () => {
  it('rotate has the gateway agree on a new key for an operator of the list, and for nobody else', async () => {
    await eventually(async () => {
      expect((await status()).epoch?.epoch).toBe(1);
    });
    const plan = await jsonOf(addGroup, 'group', 'rotate', '--dry-run', ...operator(), ...reader());
    expect(plan).toMatchObject({ event: 'group-rotation-planned', members: 4, leavesOut: [], quorum: true });
    const other = ['--operator', at('authority')];
    expect(await codeOf(runVerb(addGroup, 'group', 'rotate', ...other, ...reader()))).toBe('refused');
    expect((await status()).epoch?.epoch).toBe(1);
    const rotated = await jsonOf(addGroup, 'group', 'rotate', '--wait', ...operator(), ...reader());
    expect(rotated).toMatchObject({ event: 'group-rotated', epoch: 2, reason: 'request', members: 4 });
  });

  it('create signs the first list of a new group, which needs a gateway and meters', async () => {
    const file = ['--file', at('second.cbor'), '--root', at('ca/root.pem'), '--authority', at('authority')];
    const meters = ['01', '02'].flatMap((n) => ['--add', at(`meters/meter-${n}/certificate.pem`)]);
    expect(await codeOf(runVerb(addGroup, 'group', 'create', ...meters, ...file))).toBe('no-gateway');
    const all = [...meters, '--add', at('gateway/certificate.pem'), ...file];
    expect(await runVerb(addGroup, 'group', 'create', ...all, '--dry-run')).toMatch(/^ {2}\+ member meter-01 /m);
    await runVerb(addGroup, 'group', 'create', ...all, '--url', d.backendUrl);
    expect(await codeOf(runVerb(addGroup, 'group', 'create', ...all))).toBe('file-exists');
    expect((await runVerb(addGroup, 'group', 'status', ...reader()).catch(String)).match(/^group /gm)).toHaveLength(2);
  });
});

describe('grant', () => {
  const rules = async (): Promise<string> => runVerb(addGrant, 'grant', 'ls', ...reader());

  it('lets a reader open what is sealed from then on, and takes it away again for what comes later', async () => {
    const change = (verb: string, ...args: readonly string[]): Promise<string> =>
      runVerb(addGrant, 'grant', verb, 'household-01', ...args, ...reader(), ...authority());
    await change('add', '--meters', 'meter-02,meter-03');
    expect(await rules()).toMatch(/^household-01 +meter-01, meter-02, meter-03 /m);
    await eventually(async () => {
      const stored = await runVerb(addGrant, 'grant', 'ls', '--stored', ...reader('household'));
      expect(stored).toMatch(/^meter-02 +2$/m);
    });
    expect(await codeOf(change('add', '--meters', 'meter-02'))).toBe('nothing-changes');
    await change('remove', '--meters', 'meter-02,meter-03');
    expect(await rules()).toMatch(/^household-01 +meter-01 /m);
    expect(await codeOf(change('remove', '--meters', 'meter-02'))).toBe('nothing-changes');
    expect(await codeOf(change('add', '--meters', 'gateway'))).toBe('entry-unknown');
  });
});

describe('meter revoke', () => {
  const revoke = (...args: readonly string[]): Promise<string> =>
    runVerb(addRoles, 'meter', 'revoke', ...args, ...reader(), ...authority());

  it('takes a meter out, says from which epoch on, and waits for the key without it', async () => {
    expect(await revoke('meter-04', '--dry-run')).toContain('- member meter-04');
    expect((await status()).members).toHaveLength(4);
    const text = await revoke('meter-04', '--wait');
    expect(text).toContain('meter-04 is out from epoch 3 on');
    expect(text).toMatch(/^epoch 3, recorded \S+, is the first without it$/m);
    expect((await status()).members.map(({ id }) => id)).toEqual(['meter-01', 'meter-02', 'meter-03']);
  });

  it('is for meters of the list, and begins with the newest list', async () => {
    expect(await codeOf(revoke('utility'))).toBe('entry-unknown');
    const newest = readFileSync(d.membership);
    const older = readdirSync(d.folder)
      .filter((name) => /^membership-v\d+\.cbor$/.test(name))
      .sort();
    writeFileSync(d.membership, readFileSync(at(older[0] ?? '')));
    const last = older.at(-1) ?? '';
    const lastBytes = readFileSync(at(last));
    rmSync(at(last));
    expect(await codeOf(revoke('meter-03'))).toBe('membership-rollback');
    writeFileSync(at(last), lastBytes);
    writeFileSync(d.membership, newest);
  });
});

describe('incident stolen', () => {
  it('revokes, rekeys, ends what the thief listens to, and reports under a signature which epochs the meter exposes', async () => {
    const report = at('incident.json');
    const { suite, root, backend } = readReaderFile(d.readers.utility);
    const place = at('meters/meter-03');
    const thief = readIdentity(suite, { certificate: join(place, 'certificate.pem'), key: join(place, 'key.pem') });
    const asThief = backendOf({ suite, root, backend, ...thief, certificate: thief.leaf }, systemNowS);
    await asThief.get('groups');
    const listening = asThief.listenFor('memberships', () => undefined, AbortSignal.timeout(60_000));
    const incident = await jsonOf(
      addIncident,
      'incident',
      'stolen',
      'meter-03',
      '--report',
      report,
      ...reader(),
      ...authority(),
    );
    expect(incident).toMatchObject({
      meter: 'meter-03',
      rekeyedBy: { epoch: 4 },
      exposedEpochs: [{ epoch: 1 }, { epoch: 2 }, { epoch: 3, replacedAt: expect.any(String) as string }],
      chain: { readings: expect.any(Number) as number },
    });
    await listening;
    expect(await codeOf(asThief.get('groups'))).toBe('refused');
    const verify = (file: string): Promise<string> =>
      runVerb(addIncident, 'incident', 'verify', file, '--root', at('ca/root.pem'));
    expect(await verify(report)).toContain('signed by urn:gridring:authority:community, and as it was signed');
    const written = readFileSync(report, 'utf8');
    const forge = async (from: string | RegExp, to: string): Promise<string> => {
      writeFileSync(at('forged.json'), written.replace(from, to));
      return codeOf(verify(at('forged.json')));
    };
    expect(await forge('"epoch": 2', '"epoch": 5')).toBe('report-altered');
    expect(await forge('"kind"', '"meter": "meter-01",\n    "kind"')).toBe('report-altered');
    expect(await forge('"stolen"', '"lost"')).toBe('report-unusable');
  });
});

describe('meter enrol', () => {
  const enrol = (...args: readonly string[]): Promise<string> => runVerb(addRoles, 'meter', 'enrol', ...args);
  const managing = (): readonly string[] => [...reader(), ...authority(), '--ca', at('ca')];
  const filesIn = (folder: string) => ({
    certificate: at(`${folder}/certificate.pem`),
    key: at(`${folder}/key.pem`),
  });
  const [file, label, box] = ['invitation.json', 'label.svg', 'box'];
  const device = (...more: readonly string[]): Promise<string> =>
    enrol('--invitation', at(file), '--out', at(box), ...more);

  it('brings a new meter from an invitation to the key of its group; its own key never leaves it', async () => {
    const gateway = `http://127.0.0.1:${String(d.port + 1)}/.well-known/wot`;
    const text = await enrol(
      '--new',
      'kitchen',
      '--gateway',
      gateway,
      '--out',
      at(file),
      '--label',
      at(label),
      ...managing(),
    );
    expect(text).toContain('urn:gridring:meter:kitchen is invited until');
    expect(readFileSync(at(label), 'utf8')).toContain('<svg');
    expect(await device()).toContain('has asked');
    expect(await enrol('--approve', '--dry-run', ...managing())).toMatch(
      /^urn:gridring:meter:kitchen +waiting +[0-9a-f]{64}$/m,
    );
    const approved = await enrol('--approve', ...managing());
    expect(approved).toContain('certificate issued: urn:gridring:meter:kitchen');
    expect(approved).toMatch(/^ {2}\* coordinator gateway has a new certificate /m);
    expect(approved).toMatch(/^ {2}\+ member kitchen /m);
    expect(await enrol('--approve', ...managing())).toContain('nothing is to be signed');
    expect(await device()).toContain('start it: gridring meter --config');
    const config = JSON.parse(readFileSync(at('box/meter.json'), 'utf8')) as { meters: { source: unknown }[] };
    Object.assign(config.meters[0]!, { source: { kind: 'csv', dayIndex: 5, speed: 60 }, wakeIntervalS: 1 });
    writeFileSync(at('box/meter.json'), JSON.stringify(config));
    nextSigner(suiteByName(d.suite), { certificate: '', key: at('box/key.pem') }, randomBytes);
    const kitchen = start('meter', '--config', at('box/meter.json'), '--json');
    await eventually(async () => {
      expect((await status()).members).toContainEqual(expect.objectContaining({ id: 'kitchen', holdsKey: true }));
    });
    await kitchen.event('renewal-asked');
  });

  it('signs for the next certificates of meter and gateway, which take them and go on as who they were', async () => {
    const { certHash } = readIdentity(suiteByName(d.suite), filesIn('box'));
    const before = (await d.reader().meters()).find(({ id }) => id === 'kitchen');
    const approved = await enrol('--approve', ...managing());
    expect(approved).toContain('certificate renewed: urn:gridring:meter:kitchen');
    expect(approved).toMatch(/^ {2}\* member kitchen has a new certificate /m);
    await eventually(async () => {
      expect(readIdentity(suiteByName(d.suite), filesIn('box')).certHash).not.toEqual(certHash);
      expect((await status()).members).toContainEqual(expect.objectContaining({ id: 'kitchen', holdsKey: true }));
      const now = (await d.reader().meters()).filter(({ id }) => id === 'kitchen');
      expect(now).toHaveLength(1);
      expect(now[0]?.certHash).not.toBe(before?.certHash);
      expect(now[0]?.lastSequence).toBeGreaterThan((before?.lastSequence ?? 0) + 5);
    });
    const { breaks, opened } = await d.reader().read('kitchen', { after: 0 });
    expect([breaks, opened.length > 5, opened[0]?.sequence]).toEqual([0, true, 1]);
  });

  it('asks nobody whose root is another, and says what a label lacks', async () => {
    const invitation = JSON.parse(readFileSync(at(file), 'utf8')) as { rootHash: string };
    writeFileSync(at('other.json'), JSON.stringify({ ...invitation, rootHash: 'ab'.repeat(32) }));
    expect(await codeOf(enrol('--invitation', at('other.json'), '--out', at('box-2')))).toBe('root-other');
    const text = invitationText(parseInvitation(readFileSync(at(file), 'utf8')));
    expect(await codeOf(enrol('--invitation', text, '--out', at('box-2')))).toBe('root-missing');
    expect(await codeOf(enrol('--invitation', 'nothing', '--out', at('box-2')))).toBe('invitation-unusable');
    const thief = enrol('--invitation', text, '--out', at('box-3'), '--root', at('ca/root.pem'));
    expect(await codeOf(thief)).toBe('refused');
  });
});

describe('the authority’s key and the CA’s', () => {
  it('are in no folder but their own', () => {
    const secrets = ['authority/key.pem', 'ca/root.key.pem', 'ca/issuing.key.pem'].map((name) => {
      const base64 = readFileSync(at(name), 'utf8').split('\n').slice(1, -2).join('');
      // The last 32 bytes of PKCS #8 are the secret itself, for Ed25519.
      return Buffer.from(base64, 'base64').subarray(-32);
    });
    const files = (folder: string): readonly string[] =>
      readdirSync(folder).flatMap((name) => {
        const path = join(folder, name);
        return statSync(path).isDirectory() ? files(path) : [path];
      });
    const elsewhere = files(d.folder).filter((path) => !/\/(?:authority|ca)\/[^/]*$/.test(path));
    expect(elsewhere.length).toBeGreaterThan(10);
    const forms = secrets.flatMap((secret) => [
      secret,
      ...(['hex', 'base64', 'base64url'] as const).map((e) => Buffer.from(secret.toString(e).replace(/=+$/, ''))),
    ]);
    for (const path of elsewhere) {
      const content = readFileSync(path);
      for (const form of forms) expect(content.includes(form), path).toBe(false);
    }
  });
});
