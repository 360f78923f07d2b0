import { describe, expect, it } from 'vitest';
import type { Account, AccountsStore, BackendEvents } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

export interface StoreOfAccounts {
  readonly accounts: AccountsStore;
  readonly events: BackendEvents;
}

export const account = (id: string, differs: Partial<Account> = {}): Account => ({
  id,
  issuer: 'https://login.example',
  subject: `subject of ${id}`,
  name: 'Zoë',
  roles: ['HOUSEHOLD', 'VIEWER'],
  meters: ['urn:gridring:meter:one'],
  certHashes: [],
  disabled: false,
  sessionsFromS: 0,
  revision: 1,
  createdS: nowS,
  modifiedS: nowS,
  ...differs,
});

export function describeAccountsStore(name: string, factory: StoreFactory<StoreOfAccounts>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('finds an account by its id, by its issuer’s subject and by its certificates, over a restart', async () => {
      const place = await places.place();
      const certHashes = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
      const kept = account('a', { certHashes });
      const first = await place.open();
      await first.store.accounts.createAccount(kept);
      await first.close();
      const { accounts } = (await place.open()).store;
      expect(await accounts.account('a')).toEqual(kept);
      expect(await accounts.accountOf(kept.issuer, kept.subject)).toEqual(kept);
      for (const certHash of certHashes) expect(await accounts.accountWith(certHash)).toEqual(kept);
      expect(await accounts.account('b')).toBeUndefined();
      expect(await accounts.accountOf('https://other.example', kept.subject)).toBeUndefined();
      expect(await accounts.accountWith(bytes(32))).toBeUndefined();
    });

    it('keeps one account for each subject of an issuer, and each certificate with one account', async () => {
      const { accounts } = await places.store();
      const certHash = bytes(32);
      await accounts.createAccount(account('a', { certHashes: [certHash] }));
      const again = account('b', { subject: account('a').subject });
      await expect(accounts.createAccount(again)).rejects.toMatchObject({ code: 'account-exists' });
      const thief = account('b', { certHashes: [certHash] });
      await expect(accounts.createAccount(thief)).rejects.toMatchObject({ code: 'certificate-enrolled' });
      expect(await accounts.account('b')).toBeUndefined();
      await accounts.createAccount(account('b'));
      await expect(accounts.replaceAccount({ ...thief, revision: 2 })).rejects.toMatchObject({
        code: 'certificate-enrolled',
      });
      expect(await accounts.account('b')).toEqual(account('b'));
    });

    it('of two changes that rest on the same revision, takes one', async () => {
      const { accounts } = await places.store();
      await accounts.createAccount(account('a', { certHashes: [bytes(32)] }));
      const changed = account('a', {
        revision: 2,
        roles: [],
        disabled: true,
        sessionsFromS: nowS,
        modifiedS: nowS + 1,
      });
      expect(await accounts.replaceAccount(changed)).toBe(true);
      expect(await accounts.replaceAccount({ ...changed, disabled: false })).toBe(false);
      expect(await accounts.account('a')).toEqual(changed);
      expect(await accounts.replaceAccount(account('b', { revision: 2 }))).toBe(false);
    });

    it('lists pages in the order of the ids', async () => {
      const { accounts } = await places.store();
      for (const id of ['c', 'a', 'd', 'b']) await accounts.createAccount(account(id));
      const page = async (after: string) => (await accounts.accounts(after, 2)).map(({ id }) => id);
      expect([await page(''), await page('b'), await page('d')]).toEqual([['a', 'b'], ['c', 'd'], []]);
    });

    it('has another revision after every change, and wakes who listens', async () => {
      const { accounts, events } = await places.store();
      let woken = (): void => undefined;
      const awake = new Promise<void>((resolve) => {
        woken = resolve;
      });
      const revisions = [await accounts.accessRevision()];
      const change = async (work: () => Promise<unknown>): Promise<void> => {
        await work();
        revisions.push(await accounts.accessRevision());
      };
      await change(() => accounts.createAccount(account('a')));
      await change(() => accounts.replaceAccount(account('a', { revision: 2, disabled: true })));
      const stopListening = events.onWake(woken);
      await change(() => accounts.revokeToken('https://login.example', 'token', nowS));
      expect(new Set(revisions).size).toBe(revisions.length);
      await awake;
      stopListening();
      await accounts.takeProof(bytes(32), nowS);
      await accounts.purgeAccess(nowS);
      expect(await accounts.accessRevision()).toBe(revisions.at(-1));
    });

    it('knows a revoked token of an issuer until it has ended by itself', async () => {
      const { accounts } = await places.store();
      await accounts.revokeToken('one', 'token', nowS + 9);
      await accounts.revokeToken('one', 'token', nowS);
      await accounts.purgeAccess(nowS + 9);
      expect(await accounts.isRevoked('one', 'token')).toBe(true);
      expect(await accounts.isRevoked('two', 'token')).toBe(false);
      await accounts.purgeAccess(nowS + 10);
      expect(await accounts.isRevoked('one', 'token')).toBe(false);
    });

    it('takes a proof of possession once, of however many that show it at once, also after a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      const proof = bytes(32);
      const taken = await Promise.all(Array.from({ length: 4 }, () => first.store.accounts.takeProof(proof, nowS)));
      expect(taken.filter(Boolean)).toHaveLength(1);
      await first.close();
      const { accounts } = (await place.open()).store;
      expect(await accounts.takeProof(proof, nowS)).toBe(false);
      expect(await accounts.takeProof(bytes(32), nowS)).toBe(true);
      await accounts.purgeAccess(nowS + 1);
      expect(await accounts.takeProof(proof, nowS)).toBe(true);
    });
  });
}
