/**
 * What changes a group over the years, with fixed secrets, as a second implementation would make and read it: certificates
 * that follow one another, statements of trust, renewals, signed Thing Descriptions, proposals and lists of devices.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fromBase64Url, fromHex, toHex } from '../../crypto/bytes.js';
import { decodeStrict } from '../../crypto/cbor.js';
import { parseSign1 } from '../../crypto/cose.js';
import { GridringError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { verifyProposal } from '../../crypto/proposal.js';
import { proofMember } from '../../crypto/registration.js';
import { verifyRenewal } from '../../crypto/renewal.js';
import { nobleSuiteP256, nobleSuiteX25519 } from '../../crypto/suite-noble.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { casesOf, read, receiverOf, type Case } from './lifecycle-cases.js';
import { castOf, inputsOf, play, type Inputs, type Made } from './lifecycle-vector.js';

type Vector = { readonly origin: string; readonly cases: readonly Case[] } & Inputs & Made;

/** `WRITE_VECTORS=1 npx vitest run test/vectors/lifecycle.test.ts`; noble signs deterministically. */
const write = process.env.WRITE_VECTORS === '1';
const fileOf = ({ id }: Suite): string => fileURLToPath(new URL(`lifecycle/suite${id}.json`, import.meta.url));

const origin =
  'Written by test/vectors/lifecycle.test.ts with the noble suites; docs/protocol.md names every value. Bytes are hex. ' +
  'Signatures of suite 2 are those of RFC 6979: any other valid one is as good. Receivers trust the first root, at nowS; ' +
  'a case without a code is accepted.';

function vectorOf(suite: Suite): Vector {
  const inputs = inputsOf(suite);
  const made = play(suite, inputs);
  return { origin, ...inputs, ...made, cases: casesOf(suite, { ...inputs, ...made }) };
}

if (write) {
  for (const suite of [nobleSuiteX25519, nobleSuiteP256]) {
    mkdirSync(dirname(fileOf(suite)), { recursive: true });
    writeFileSync(fileOf(suite), `${JSON.stringify(vectorOf(suite), null, 1)}\n`);
  }
}

const vectorIn = (suite: Suite): Vector => JSON.parse(readFileSync(fileOf(suite), 'utf8')) as Vector;

/** What each message says, without its signature. */
function unsigned({ list, listMessage, statement, renewal, signedTd, ...made }: Made): unknown {
  const signed = (decodeStrict(fromHex(made.deviceListSignature), limits.endorsement) as readonly Uint8Array[])[0];
  const messages = [listMessage, statement, renewal, made.revoke, made.grant, made.withdraw].map(fromHex);
  const all = [...messages, fromBase64Url(String(signedTd[proofMember])), signed ?? new Uint8Array(0)];
  return [list, all.map((bytes) => parseSign1(bytes, limits.membership)).map(({ kid, payload }) => [kid, payload])];
}

function verdict(act: () => void): string | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
}

describe.each([suiteX25519, suiteP256])('the vector of changes, suite $name', (suite) => {
  const vector = vectorIn(suite);
  const receiver = receiverOf(suite, vector);
  const { meter, otherMeter } = castOf(suite, vector).actors;

  it('comes out of its inputs, but for signatures that are drawn at random', () => {
    expect(unsigned(play(suite, vector))).toEqual(unsigned(vector));
  });

  it('is read, or refused with its code, in every case', () => {
    const codes = vector.cases.map((each) => [
      each.of,
      each.what,
      verdict(() => {
        read(suite, receiver, each, vector.directory);
      }),
    ]);
    expect(codes).toEqual(vector.cases.map(({ of, what, code }) => [of, what, code]));
  });

  it('means holders by the certificates that they have now', () => {
    expect(receiver.membership.trustedRoots).toHaveLength(2);
    expect(toHex(receiver.membership.listHash)).toBe(vector.listHash);
    const check = { suite, membership: receiver.membership, nowS: vector.nowS };
    expect(verifyProposal(check, fromHex(vector.grant)).meters?.map(toHex)).toEqual(
      [meter, otherMeter].map(({ certHash }) => toHex(certHash)).sort(),
    );
    expect(toHex(verifyProposal(check, fromHex(vector.revoke)).id)).toBe(vector.revokeId);
    const renewal = verifyRenewal({ suite, trustedRoots: receiver.roots, nowS: vector.nowS }, fromHex(vector.renewal));
    expect(toHex(renewal.holder.certHash)).toBe(toHex(meter.certHash));
  });
});

it.each([nobleSuiteX25519, nobleSuiteP256])(
  'the vector of changes comes out of its inputs to the byte, suite $name',
  (suite) => {
    const vector = vectorIn(suite);
    expect({ ...vector, ...play(suite, vector) }).toEqual(vector);
  },
);
