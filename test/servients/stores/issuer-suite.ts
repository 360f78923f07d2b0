import { describe, expect, it } from 'vitest';
import type { IssuerItem, IssuerStore, Login, LoginStore, NewLink } from '../../../things/issuer-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

const item = (idHash: Uint8Array, more: Partial<IssuerItem> = {}): IssuerItem => ({
  ...{ model: 'Session', idHash, payload: '{"a":1}', grantId: null, uid: null, userCode: null, account: null },
  expiresS: nowS + 60,
  ...more,
});
const login = (username: string, more: Partial<Login> = {}): Login => ({
  ...{ subject: `subject of ${username}`, username, password: null, createdS: nowS },
  ...more,
});

export function describeIssuerStore(name: string, factory: StoreFactory<IssuerStore & LoginStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps what the issuer gave out, over a restart, and finds it by each of its names', async () => {
      const place = await places.place();
      const first = await place.open();
      const [a, b] = [bytes(32), bytes(32)];
      await first.store.putItem(item(a, { uid: 'u', userCode: 'CODE' }));
      await first.store.putItem(item(a, { uid: 'u', userCode: 'CODE', payload: '{"a":2}' }));
      await first.store.putItem(item(b));
      await first.close();
      const { store } = await place.open();
      const found = { payload: '{"a":2}', consumedS: null };
      expect(await store.item('Session', a)).toEqual(found);
      expect(await store.itemByUid('Session', 'u')).toEqual(found);
      expect(await store.itemByUserCode('Session', 'CODE')).toEqual(found);
      expect(await store.item('Grant', a)).toBeUndefined();
      await store.deleteItem('Session', a);
      expect(await store.itemByUid('Session', 'u')).toBeUndefined();
      expect(await store.item('Session', b)).toBeDefined();
    });

    it('takes a proof once until it has expired, of many at a time one', async () => {
      const store = await places.store();
      const proof = item(bytes(32), { model: 'ReplayDetection' });
      const added = await Promise.all([1, 2, 3, 4].map(() => store.addItem(proof, nowS)));
      expect(added.filter(Boolean)).toHaveLength(1);
      expect(await store.addItem(proof, nowS + 59)).toBe(false);
      expect(await store.addItem({ ...proof, expiresS: nowS + 120 }, nowS + 60)).toBe(true);
    });

    it('lets a code be used once, also when it is stored again', async () => {
      const store = await places.store();
      const code = item(bytes(32));
      await store.putItem(code);
      const used = await Promise.all([1, 2, 3].map((s) => store.consumeItem('Session', code.idHash, nowS + s)));
      expect(used.filter(Boolean)).toHaveLength(1);
      await store.putItem(code);
      expect((await store.item('Session', code.idHash))?.consumedS).toBeGreaterThan(nowS);
      expect(await store.consumeItem('Session', bytes(32), nowS)).toBe(false);
    });

    it('ends all of a grant, or of who sets a password, and nothing of others', async () => {
      const store = await places.store();
      const hashes = [bytes(32), bytes(32), bytes(32)] as const;
      await store.putItem(item(hashes[0], { grantId: 'g', account: 'anna' }));
      await store.putItem(item(hashes[1], { account: 'anna' }));
      await store.putItem(item(hashes[2], { grantId: 'h', account: 'bert' }));
      const left = async () => (await Promise.all(hashes.map((id) => store.item('Session', id)))).map(Boolean);
      await store.deleteGrant('g');
      expect(await left()).toEqual([false, true, true]);
      await store.addLogin(login('anna', { subject: 'anna' }));
      const codeHash = bytes(32);
      await store.addLink({ codeHash, subject: 'anna', expiresS: nowS + 60, ends: 'nothing' });
      await store.useLink(codeHash, 'hash', nowS);
      expect(await left()).toEqual([false, false, true]);
    });

    it('shows keys until they expire, and purges what has expired', async () => {
      const store = await places.store();
      await store.putKey({ kid: 'a', jwk: '{}', expiresS: nowS + 10 });
      await store.putKey({ kid: 'b', jwk: '{}', expiresS: nowS + 10 });
      await store.putKey({ kid: 'a', jwk: '{}', expiresS: nowS + 20 });
      await store.putItem(item(bytes(32), { expiresS: nowS + 10 }));
      await store.putItem(item(bytes(32), { expiresS: nowS + 11 }));
      expect((await store.keys(nowS + 10)).map(({ kid }) => kid)).toEqual(['a']);
      expect(await store.purgeIssuer(nowS + 10)).toBe(2);
      expect(await store.purgeIssuer(nowS + 10)).toBe(0);
    });

    it('knows each user name once', async () => {
      const store = await places.store();
      expect(await store.addLogin(login('bert'))).toBe(true);
      expect(await store.addLogin(login('anna', { password: 'hash' }))).toBe(true);
      expect(await store.addLogin(login('bert', { subject: 'another' }))).toBe(false);
      expect(await store.loginByName('bert')).toEqual(login('bert'));
      expect(await store.loginOf('subject of anna')).toEqual(login('anna', { password: 'hash' }));
      expect(await store.loginOf('another')).toBeUndefined();
      expect(await store.loginByName('Bert')).toBeUndefined();
      expect((await store.logins()).map(({ username }) => username)).toEqual(['anna', 'bert']);
    });

    it('sets a password by a link once, and ends the other links of the login with it', async () => {
      const store = await places.store();
      await store.addLogin(login('anna'));
      await store.addLogin(login('bert'));
      const [one, two, other] = [bytes(32), bytes(32), bytes(32)] as const;
      const add = (codeHash: Uint8Array, name: string) =>
        store.addLink({ codeHash, subject: `subject of ${name}`, expiresS: nowS + 60, ends: 'nothing' });
      await add(one, 'anna');
      await add(two, 'anna');
      await add(other, 'bert');
      expect(await store.linkedLogin(one, nowS + 60)).toBeUndefined();
      expect(await store.useLink(one, 'late', nowS + 60)).toBe(false);
      expect(await store.linkedLogin(one, nowS)).toEqual(login('anna'));
      const used = await Promise.all(['a', 'b', 'c'].map((password) => store.useLink(one, password, nowS)));
      expect(used.filter(Boolean)).toHaveLength(1);
      expect(['a', 'b', 'c']).toContain((await store.loginByName('anna'))?.password);
      expect(await store.useLink(two, 'again', nowS)).toBe(false);
      expect(await store.linkedLogin(other, nowS)).toMatchObject({ username: 'bert' });
    });

    it('makes a link in the place of those of before, or also of the password', async () => {
      const store = await places.store();
      await store.addLogin(login('anna', { password: 'hash' }));
      const add = async (ends: NewLink['ends']): Promise<Uint8Array> => {
        const codeHash = bytes(32);
        await store.addLink({ codeHash, subject: 'subject of anna', expiresS: nowS + 60, ends });
        return codeHash;
      };
      const links = [await add('nothing'), await add('nothing')];
      const left = async () =>
        Promise.all(links.map(async (link) => (await store.linkedLogin(link, nowS)) !== undefined));
      expect(await left()).toEqual([true, true]);
      links.push(await add('links'));
      expect([await left(), (await store.loginOf('subject of anna'))?.password]).toEqual([
        [false, false, true],
        'hash',
      ]);
      links.push(await add('password'));
      expect(await left()).toEqual([false, false, false, true]);
      expect((await store.loginOf('subject of anna'))?.password).toBeNull();
    });
  });
}
