/** Commands and receipts with fixed secrets, as a second implementation would make and read them (docs/protocol.md §8). */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../crypto/bytes.js';
import {
  makeCommand,
  makeCommandReceipt,
  openCommand,
  openCommandReceipt,
  parseCommand,
  parseCommandReceipt,
} from '../../crypto/envelope/command.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import { nobleSuiteP256, nobleSuiteX25519 } from '../../crypto/suite-noble.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { seededRandom } from '../support/neighbourhood.js';

interface Vector {
  readonly origin: string;
  readonly suite: number;
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly th2: string;
  /** seedG of the epoch. */
  readonly groupSeed: string;
  readonly groupPublicKey: string;
  readonly operator: { readonly certHash: string; readonly signingSecret: string; readonly replyIkm: string };
  readonly meter: { readonly certHash: string; readonly signingSecret: string };
  readonly sequence: number;
  readonly expiresS: number;
  readonly intervalS: number;
  /** Of the HPKE key pairs: the `ikm` of DeriveKeyPair. */
  readonly commandIkm: string;
  readonly receiptIkm: string;
  readonly doneS: number;
  readonly command: string;
  readonly commandId: string;
  readonly receipt: string;
}

type Inputs = Omit<Vector, 'groupPublicKey' | 'command' | 'commandId' | 'receipt'>;

/** `WRITE_VECTORS=1 npx vitest run test/vectors/command.test.ts`; noble signs deterministically. */
const write = process.env.WRITE_VECTORS === '1';
const fileOf = ({ id }: Suite): string => fileURLToPath(new URL(`command/suite${id}.json`, import.meta.url));

function inputsOf(suite: Suite): Inputs {
  const random = seededRandom(`command vector/${suite.name}`);
  const draw = (length: number): string => toHex(random(length));
  return {
    origin:
      'Written by test/vectors/command.test.ts with the noble suites; docs/protocol.md names every value. Bytes are hex. ' +
      'The last 64 bytes of each message of suite 2 are its signature by RFC 6979: any other valid one is as good.',
    suite: suite.id,
    ...{ gid: draw(16), epoch: 7, attempt: 2, th2: draw(32), groupSeed: draw(32) },
    operator: { certHash: draw(32), signingSecret: draw(32), replyIkm: draw(32) },
    meter: { certHash: draw(32), signingSecret: draw(32) },
    ...{ sequence: 1_767_225_600 * 2 ** 20 + 3, expiresS: 1_767_229_200, intervalS: 300 },
    ...{ commandIkm: draw(32), receiptIkm: draw(32), doneS: 1_767_225_660 },
  };
}

const once = (hex: string) => (): Uint8Array => fromHex(hex);

/** The messages that the inputs give. */
function play(suite: Suite, v: Inputs): Vector {
  const name = { gid: fromHex(v.gid), epoch: v.epoch, attempt: v.attempt, th2: fromHex(v.th2) };
  const groupPublicKey = deriveKeyPair(suite, fromHex(v.groupSeed)).key.hpkePublicKey;
  const holder = ({ certHash, signingSecret }: Vector['meter']) => ({
    certHash: fromHex(certHash),
    kid: fromHex(certHash).slice(0, 8),
    signer: suite.signer(fromHex(signingSecret)),
  });
  const command = makeCommand(
    suite,
    {
      ...{ name, groupPublicKey, operator: holder(v.operator), sequence: v.sequence, expiresS: v.expiresS },
      targets: [fromHex(v.meter.certHash)],
      operation: { name: 'set-reading-interval', intervalS: v.intervalS },
    },
    once(v.commandIkm),
  );
  const replyKey = deriveKeyPair(suite, fromHex(v.operator.replyIkm)).key.hpkePublicKey;
  const parsed = { ...parseCommand(suite, command), replyKey };
  const outcome = { code: null, doneS: v.doneS };
  const receipt = makeCommandReceipt(suite, holder(v.meter), parsed, outcome, once(v.receiptIkm));
  return {
    ...v,
    groupPublicKey: toHex(groupPublicKey),
    ...{ command: toHex(command), commandId: toHex(parsed.id), receipt: toHex(receipt) },
  };
}

if (write) {
  for (const suite of [nobleSuiteX25519, nobleSuiteP256]) {
    mkdirSync(dirname(fileOf(suite)), { recursive: true });
    writeFileSync(fileOf(suite), `${JSON.stringify(play(suite, inputsOf(suite)), null, 1)}\n`);
  }
}

describe.each([suiteX25519, suiteP256, nobleSuiteX25519, nobleSuiteP256])('the vector of a command, suite $name', (suite) => {
  const vector = JSON.parse(readFileSync(fileOf(suite), 'utf8')) as Vector;

  it('comes out of its inputs, but for signatures that are drawn at random', () => {
    const cut = (v: Vector) => ({ ...v, command: v.command.slice(0, -128), receipt: v.receipt.slice(0, -128) });
    expect(cut(play(suite, vector))).toEqual(cut(vector));
  });

  it('opens for the member, and its receipt for the operator', () => {
    const command = parseCommand(suite, fromHex(vector.command));
    const keys = [{ name: command.name, groupSeed: fromHex(vector.groupSeed) }];
    expect(openCommand(suite, keys, command)).toEqual({ name: 'set-reading-interval', intervalS: vector.intervalS });
    const { key } = deriveKeyPair(suite, fromHex(vector.operator.replyIkm));
    const receipt = parseCommandReceipt(fromHex(vector.receipt));
    expect(openCommandReceipt(suite, key, receipt)).toEqual({ code: null, doneS: vector.doneS });
    expect(toHex(receipt.commandId)).toBe(vector.commandId);
  });
});
