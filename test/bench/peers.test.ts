import { describe, expect, it } from 'vitest';
import { random } from '../../bench/deployment.js';
import { centralDh, DhMember, DhServer } from '../../bench/peers/central-dh.js';
import { lkh, LkhMember, LkhServer } from '../../bench/peers/lkh.js';
import { mls } from '../../bench/peers/mls.js';
import type { Event, PeerGroup } from '../../bench/peers/peer.js';
import { openSigned, unwrapKey } from '../../bench/peers/signed.js';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';

async function keyAfter(group: PeerGroup, event: Event, members: number): Promise<string> {
  const happen = await group.stage(event);
  expect(await happen()).toBeGreaterThan(0);
  const keys = (await group.keys()).map(toHex);
  expect(keys).toHaveLength(members);
  expect(new Set(keys).size).toBe(1);
  return keys[0]!;
}

describe.each([lkh, centralDh, mls])('a group of $name', (peer) => {
  it('has one key after each event, and never an earlier one', async () => {
    const group = await peer.prepare(suiteX25519, 5);
    const keys = [await keyAfter(group, 'create', 5)];
    for (let i = 0; i < 2; i++) keys.push(await keyAfter(group, 'remove', 4), await keyAfter(group, 'add', 5));
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('a member that was removed', () => {
  const suite = suiteX25519;

  it('opens nothing of a logical key hierarchy’s next rekey with any key that it ever had', () => {
    const server = new LkhServer(suite, 5);
    const verifier = suite.verifier(server.verificationKey);
    const members = Array.from({ length: 5 }, () => {
      const key = random(suite.aeadKeyBytes);
      const leaf = server.seat(key);
      return { leaf, member: new LkhMember(suite, verifier, leaf, key) };
    });
    const first = server.rekey(members.map(({ leaf }) => leaf));
    for (const { member } of members) member.receive(first);
    const [out, ...rest] = members;
    server.unseat(out!.leaf);
    const second = server.rekey([out!.leaf]);
    for (const { member } of rest) member.receive(second);

    expect(() => {
      out!.member.receive(second);
    }).toThrow();
    const [, wrapped] = openSigned(verifier, second) as [number, readonly (readonly [number, Uint8Array])[]];
    expect(wrapped.length).toBeGreaterThan(1);
    for (const [node, sealed] of wrapped) {
      for (const key of out!.member.keys.values()) {
        expect(() => unwrapKey(suite, key, [2, node], sealed)).toThrow();
      }
    }
    expect(new Set(rest.map(({ member }) => toHex(member.keys.get(1)!))).size).toBe(1);
    expect(toHex(out!.member.keys.get(1)!)).not.toBe(toHex(rest[0]!.member.keys.get(1)!));
  });

  it('opens none of a central server’s next group keys', () => {
    const server = new DhServer(suite);
    const verifier = suite.verifier(server.verificationKey);
    const members = ['a', 'b', 'c'].map((id) => new DhMember(suite, id, verifier));
    const offer = server.offer();
    for (const member of members) {
      server.accept(member.id, suite.verifier(member.verificationKey), member.answer(offer));
    }
    server.expel('a');
    const messages = server.rekey();
    expect([...messages.keys()]).toEqual(['b', 'c']);
    for (const message of messages.values()) {
      expect(() => {
        members[0]!.receive(message);
      }).toThrow();
    }
    expect(members[0]!.groupKey).toBeUndefined();
  });
});
