import { describe, expect, it } from 'vitest';
import { auditFacts, type AuditEntry, type AuditFacts } from '../../../crypto/audit/entry.js';
import { AuditVerifier } from '../../../crypto/audit/verify.js';
import { suiteX25519 } from '../../../crypto/suite-node.js';
import type { IssuerStore, LoginStore } from '../../../things/issuer-store.js';
import type { AccountsStore, AuditStore, BackendStore } from '../../../things/stores.js';
import { account } from './accounts-suite.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

export interface StoreWithAudit {
  readonly backend: BackendStore;
  readonly audit: AuditStore;
  readonly accounts: AccountsStore;
  readonly issuer: IssuerStore & LoginStore;
}

const facts = (subject: string, some: Partial<AuditFacts> = {}): AuditFacts =>
  auditFacts({
    ...{ timeS: nowS, actor: 'urn:gridring:operator:o', action: 'test.do', outcome: 'done', requestId: null },
    ...{ subject, details: { count: 1, name: 'näme', whole: true } },
    ...some,
  });

function findingsOf({ log }: AuditStore, entries: readonly AuditEntry[]): readonly unknown[] {
  const start = { sequence: 0, hash: new Uint8Array(32) };
  const verifier = new AuditVerifier({ suite: suiteX25519, log, start, checkpoints: [], kept: [] });
  for (const entry of entries) verifier.add(entry);
  return verifier.end({ sealed: false }).findings;
}

const subjects = async (page: Promise<readonly AuditEntry[]>): Promise<readonly string[]> =>
  (await page).map(({ subject }) => subject);

export function describeAudit(name: string, factory: StoreFactory<StoreWithAudit>): void {
  describe(`${name} keeps an audit log`, () => {
    const places = placesOf(factory);

    it('whose entries are one chain, over a restart too', async () => {
      const place = await places.place();
      const first = await place.open();
      await first.store.audit.append(facts('1'));
      const { log } = first.store.audit;
      await first.close();
      const { audit } = (await place.open()).store;
      await audit.append(facts('2', { requestId: 'r', outcome: 'refused' }));
      const entries = await audit.entries(0, 9);
      expect(entries).toMatchObject([
        { sequence: 1, ...facts('1') },
        { sequence: 2, ...facts('2', { requestId: 'r', outcome: 'refused' }) },
      ]);
      expect([audit.log, findingsOf(audit, entries)]).toEqual([log, []]);
      expect(await audit.head()).toEqual({ sequence: 2, hash: entries[1]?.hash, checkpoint: null });
    });

    it('that many write at once, and none of them loses or doubles an entry', async () => {
      const place = await places.place();
      const stores = [(await place.open()).store.audit, (await place.open()).store.audit];
      await Promise.all(Array.from({ length: 20 }, (_, i) => stores[i % 2]!.append(facts(String(i)))));
      const entries = await stores[0]!.entries(0, 99);
      expect(new Set(entries.map(({ subject }) => subject)).size).toBe(20);
      expect([entries.length, findingsOf(stores[0]!, entries)]).toEqual([20, []]);
    });

    it('together with a list or an epoch that is new, and with nothing else', async () => {
      const { backend, audit } = await places.store();
      const gid = bytes(16);
      const list = { version: 1, revision: 0, listHash: bytes(32), publishedS: nowS };
      const epoch = { gid, epoch: 1, attempt: 1, th2: bytes(32), listHash: list.listHash };
      const row = { ...epoch, listVersion: 1, listRevision: 0, members: 3, reason: 'founding', recordedS: nowS };
      const endorsed = { record: bytes(9), endorsement: bytes(9) };
      for (const subject of ['list', 'again']) await backend.saveMembership(gid, list, bytes(9), [facts(subject)]);
      for (const subject of ['epoch', 'again']) await backend.saveEpoch(row, endorsed, [facts(subject)]);
      const older = { ...row, th2: bytes(32) };
      await expect(backend.saveEpoch(older, endorsed, [facts('conflict')])).rejects.toThrow();
      expect(await subjects(audit.entries(0, 9))).toEqual(['list', 'epoch']);
    });

    it('together with what becomes of accounts, logins and tokens, and with nothing that was refused', async () => {
      const { accounts, issuer, audit } = await places.store();
      const login = { subject: 'a', username: 'anna', password: null, createdS: nowS };
      await accounts.createAccount(account('a'), { login, audit: [facts('made')] });
      const taken = accounts.createAccount(account('b'), {
        login: { ...login, subject: 'b' },
        audit: [facts('taken')],
      });
      await expect(taken).rejects.toMatchObject({ code: 'username-taken' });
      expect(await accounts.account('b')).toBeUndefined();
      const changed = account('a', { revision: 2, disabled: true });
      for (const subject of ['changed', 'again']) await accounts.replaceAccount(changed, { audit: [facts(subject)] });
      await accounts.revokeToken('issuer', 'token', nowS, [facts('revoked')]);
      const codeHash = bytes(32);
      await issuer.addLink({ codeHash, subject: 'a', expiresS: nowS + 60, ends: 'links' }, [facts('link')]);
      for (const subject of ['used', 'again']) await issuer.useLink(codeHash, 'hash', nowS, [facts(subject)]);
      const item = { model: 'RefreshToken', idHash: bytes(32), payload: '{}', uid: null, userCode: null };
      const given = { ...item, grantId: 'g', account: 'a', expiresS: nowS + 60 };
      await issuer.putItem(given, [facts('token')]);
      await accounts.replaceAccount(account('a', { revision: 3 }), { endsSessions: true, audit: [facts('ended')] });
      expect(await issuer.item('RefreshToken', given.idHash)).toBeUndefined();
      await issuer.deleteGrant('g', [facts('grant')]);
      const told = ['made', 'changed', 'revoked', 'link', 'used', 'token', 'ended', 'grant'];
      expect(await subjects(audit.entries(0, 9))).toEqual(told);
    });

    it('that is read page by page, from its end, and by what is asked for', async () => {
      const { audit } = await places.store();
      await audit.append(facts('a'));
      await audit.append(facts('b', { actor: 'x', timeS: nowS + 10 }));
      await audit.append(facts('c', { outcome: 'refused', action: 'test.other', timeS: nowS + 20 }));
      expect(await subjects(audit.entries(1, 1))).toEqual(['b']);
      expect(await subjects(audit.lastEntries(2))).toEqual(['b', 'c']);
      for (const [filter, found] of [
        [{ actor: 'x' }, ['b']],
        [{ action: 'test.other' }, ['c']],
        [{ subject: 'a' }, ['a']],
        [{ outcome: 'done' }, ['a', 'b']],
        [{ sinceS: nowS + 10, untilS: nowS + 10 }, ['b']],
        [{ actor: "x' OR 1=1 --" }, []],
      ] as const) {
        expect(await subjects(audit.entries(0, 9, filter))).toEqual(found);
        expect(await subjects(audit.lastEntries(9, filter))).toEqual(found);
      }
    });

    it('whose checkpoints have each number once, and which gives up what is old up to one of them', async () => {
      const { audit } = await places.store();
      for (let i = 1; i <= 5; i++) await audit.append(facts(String(i), { timeS: nowS + i }));
      const message = bytes(9);
      expect(await audit.saveCheckpoint({ number: 1, sequence: 2, message })).toBe(true);
      expect(await audit.saveCheckpoint({ number: 1, sequence: 3, message: bytes(9) })).toBe(false);
      expect(await audit.saveCheckpoint({ number: 2, sequence: 4, message })).toBe(true);
      expect((await audit.head()).checkpoint).toEqual({ number: 2, sequence: 4 });
      expect(await audit.dropOld(nowS + 2)).toBe(0);
      expect(await audit.dropOld(nowS + 4)).toBe(2);
      expect(await subjects(audit.entries(0, 9))).toEqual(['3', '4', '5']);
      expect(await audit.checkpoints(0, 9)).toMatchObject([{ number: 1 }, { number: 2 }]);
      expect(await audit.dropOld(nowS + 99)).toBe(2);
      expect(await audit.checkpoints(0, 9)).toEqual([{ number: 2, sequence: 4, message }]);
      expect((await audit.append(facts('6'))).sequence).toBe(6);
    });
  });
}
