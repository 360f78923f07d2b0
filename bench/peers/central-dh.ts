/**
 * Centralized Diffie–Hellman: each member agrees on a key with a server, both with ephemeral keys that they sign; the
 * server draws the group key and sends it to everybody under these. A change costs one agreement, or none, and a
 * message for each member.
 */
import { equalBytes } from '../../crypto/bytes.js';
import { decodeStrict, encode } from '../../crypto/cbor.js';
import { arrayOf, bytesOf, uintOf } from '../../crypto/fields.js';
import { hkdfExpand, hkdfExtract } from '../../crypto/hash.js';
import { generateAgreementKey, generateSigner } from '../../crypto/keys.js';
import { limits } from '../../crypto/limits.js';
import type { AgreementKey, Signer, Suite, Verifier } from '../../crypto/suite.js';
import { random } from '../deployment.js';
import type { Event, Peer, PeerGroup } from './peer.js';
import { openSigned, signed, unwrapKey, wrapKey } from './signed.js';

/** Of both public keys and what they agree on; as long as the AEAD's. */
function pairwiseKey(suite: Suite, server: Uint8Array, member: Uint8Array, agreed: Uint8Array): Uint8Array {
  return hkdfExpand(
    suite,
    hkdfExtract(suite, encode([server, member]), agreed),
    encode(['pairwise']),
    suite.aeadKeyBytes,
  );
}

export class DhServer {
  readonly #suite: Suite;
  readonly #signer: Signer;
  readonly #pairwise = new Map<string, Uint8Array>();
  #ephemeral: AgreementKey | undefined;
  #epoch = 0;

  constructor(suite: Suite) {
    this.#suite = suite;
    this.#signer = generateSigner(suite, random).signer;
  }

  get verificationKey(): Uint8Array {
    return this.#signer.publicKey;
  }

  /** Round 1: the server's fresh public key, signed. */
  offer(): Uint8Array {
    this.#ephemeral = generateAgreementKey(this.#suite, random).key;
    return signed(this.#signer, ['offer', this.#ephemeral.publicKey]);
  }

  /** Round 2: a member's answer. @throws VerificationError `signature-invalid`, `key-invalid`; RangeError */
  accept(id: string, member: Verifier, answer: Uint8Array): void {
    const [, server, theirs] = arrayOf(openSigned(member, answer), 'answer', 3);
    const [offered, key] = [bytesOf(server, 'offered key', 32), bytesOf(theirs, 'key', 32)];
    if (!this.#ephemeral || !equalBytes(offered, this.#ephemeral.publicKey)) {
      throw new RangeError('an answer to another offer');
    }
    this.#pairwise.set(id, pairwiseKey(this.#suite, offered, key, this.#ephemeral.agree(key)));
  }

  expel(id: string): void {
    this.#pairwise.delete(id);
  }

  /** Round 3: a fresh group key for everybody who is in, by id. */
  rekey(): ReadonlyMap<string, Uint8Array> {
    const epoch = ++this.#epoch;
    const groupKey = random(32);
    const sealFor = (key: Uint8Array): Uint8Array => encode([epoch, wrapKey(this.#suite, key, [epoch], groupKey)]);
    return new Map([...this.#pairwise].map(([id, key]) => [id, sealFor(key)]));
  }
}

export class DhMember {
  readonly id: string;
  readonly #suite: Suite;
  readonly #signer: Signer;
  readonly #server: Verifier;
  #pairwise: Uint8Array | undefined;
  #groupKey: Uint8Array | undefined;
  #epoch = 0;

  constructor(suite: Suite, id: string, server: Verifier) {
    this.id = id;
    this.#suite = suite;
    this.#signer = generateSigner(suite, random).signer;
    this.#server = server;
  }

  get verificationKey(): Uint8Array {
    return this.#signer.publicKey;
  }

  get groupKey(): Uint8Array | undefined {
    return this.#groupKey;
  }

  /** Round 2: this member's fresh public key beside the server's, signed. @throws VerificationError */
  answer(offer: Uint8Array): Uint8Array {
    const [, theirs] = arrayOf(openSigned(this.#server, offer), 'offer', 2);
    const server = bytesOf(theirs, 'key', 32);
    const { key } = generateAgreementKey(this.#suite, random);
    this.#pairwise = pairwiseKey(this.#suite, server, key.publicKey, key.agree(server));
    return signed(this.#signer, ['answer', server, key.publicKey]);
  }

  /** Round 3. @throws VerificationError `seal-invalid` for what is another's, RangeError for what is old */
  receive(message: Uint8Array): void {
    const [number, wrapped] = arrayOf(decodeStrict(message, limits.memberMessage), 'wrapped group key', 2);
    const epoch = uintOf(number, 'epoch');
    if (!this.#pairwise || epoch <= this.#epoch) throw new RangeError('no agreement yet, or an old group key');
    this.#groupKey = unwrapKey(this.#suite, this.#pairwise, [epoch], bytesOf(wrapped, 'wrapped key'));
    this.#epoch = epoch;
  }
}

interface Seat {
  readonly member: DhMember;
  readonly verifier: Verifier;
}

class DhGroup implements PeerGroup {
  readonly #suite: Suite;
  readonly #server: DhServer;
  readonly #serverKey: Verifier;
  readonly #seats: Seat[];
  #seated = 0;

  constructor(suite: Suite, size: number) {
    this.#suite = suite;
    this.#server = new DhServer(suite);
    this.#serverKey = suite.verifier(this.#server.verificationKey);
    this.#seats = Array.from({ length: size }, () => this.#newSeat());
  }

  async stage(event: Event): Promise<() => Promise<number>> {
    switch (event) {
      case 'create':
        return async () => this.#agree(this.#seats) + this.#rekey();
      case 'add': {
        const seat = this.#newSeat();
        return async () => {
          this.#seats.push(seat);
          return this.#agree([seat]) + this.#rekey();
        };
      }
      case 'remove':
        return async () => {
          const left = this.#seats.shift();
          if (left) this.#server.expel(left.member.id);
          return this.#rekey();
        };
    }
  }

  async keys(): Promise<readonly Uint8Array[]> {
    return this.#seats.flatMap(({ member }) => member.groupKey ?? []);
  }

  #newSeat(): Seat {
    const member = new DhMember(this.#suite, `member-${++this.#seated}`, this.#serverKey);
    return { member, verifier: this.#suite.verifier(member.verificationKey) };
  }

  #agree(seats: readonly Seat[]): number {
    const offer = this.#server.offer();
    let bytes = 0;
    for (const { member, verifier } of seats) {
      const answer = member.answer(offer);
      this.#server.accept(member.id, verifier, answer);
      bytes += offer.length + answer.length;
    }
    return bytes;
  }

  #rekey(): number {
    const messages = this.#server.rekey();
    let bytes = 0;
    for (const { member } of this.#seats) {
      const message = messages.get(member.id);
      if (!message) throw new TypeError('a member without a group key');
      member.receive(message);
      bytes += message.length;
    }
    return bytes;
  }
}

export const centralDh: Peer = {
  name: 'central DH',
  contributory: false,
  prepare: async (suite, members) => new DhGroup(suite, members),
};
