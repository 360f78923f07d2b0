/** A device's word for its own Thing Description, and those who forge, alter, move or replay it. */
import { describe, expect, it } from 'vitest';
import { fromBase64Url, toBase64Url, utf8 } from '../../crypto/bytes.js';
import { canonicalJson } from '../../crypto/canonical-json.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { parseSign1, sign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import { discoveryContext, proofMember, signRegistration, verifyRegistration } from '../../crypto/registration.js';
import { neighbourhoodOf, suites } from '../support/forge.js';
import { refusal } from './refusal.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';

type Td = Readonly<Record<string, unknown>>;

const tdContext = 'https://www.w3.org/2022/wot/td/v1.1';
const tdOf = (id: string): Td => ({ '@context': tdContext, id, title: 'Zähler', actions: { rekey: { b: 1, a: [2] } } });

describe.each(suites)('a signed registration, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const [meter, other] = n.meters as [Principal, Principal];
  const id = `urn:gridring:meter:${meter.certificate.id}`;
  const use = { directory: 'urn:here', timeS: nowS };
  const check = { suite, trustedRoots: [n.root], nowS, directory: 'urn:here' };
  const chainOf = ({ certificate }: Principal) => [certificate.der, n.certificates[0]!];
  const sign = (td: Td, by: Principal = meter, how = use): Td =>
    signRegistration(suite, { ...by, certificates: chainOf(by) }, td, how);
  const verdict = (td: Td, when: Partial<typeof check> = {}): string =>
    refusal(() => verifyRegistration({ ...check, ...when }, td));
  const signed = sign(tdOf(id));

  it('verifies, and says whose it is and when it was signed', () => {
    expect(verifyRegistration(check, signed)).toMatchObject({
      timeS: nowS,
      certificate: { id: meter.certificate.id, role: 'meter' },
    });
    expect(verdict(sign(tdOf(`${id}:part`)))).toBe('accepted');
  });

  it('verifies as a directory gives it out, in whatever order its members come', () => {
    const registration = { created: '2026-01-01T00:00:00Z', ttl: 5 };
    const enriched = { registration, ...signed, '@context': [tdContext, discoveryContext] };
    const turned = Object.fromEntries(Object.entries(enriched).reverse());
    expect(verdict(JSON.parse(JSON.stringify(turned)) as Td)).toBe('accepted');
  });

  it.each<[string, Td, string]>([
    ['none', tdOf(id), 'VerificationError td-unsigned'],
    ['another title', { ...signed, title: 'Zahler' }, 'VerificationError td-altered'],
    ['a form more', { ...signed, base: 'coap://192.0.2.66/' }, 'VerificationError td-altered'],
    ['a member less', { ...signed, actions: undefined }, 'VerificationError td-altered'],
    [
      'another context',
      { ...signed, '@context': [tdContext, { ex: 'https://ex.example/' }] },
      'VerificationError td-altered',
    ],
    ['the id of a neighbour', { ...signed, id: 'urn:gridring:meter:meter-02' }, 'VerificationError td-of-another'],
    ['an id that begins like its own', sign(tdOf(`${id}1`)), 'VerificationError td-of-another'],
    ['an id in capitals', sign(tdOf(id.toUpperCase())), 'VerificationError td-of-another'],
    ['that of a neighbour', sign(tdOf(id), other), 'VerificationError td-of-another'],
    [
      'one of the future',
      sign(tdOf(id), meter, { ...use, timeS: nowS + limits.clockSkewS + 1 }),
      'VerificationError td-early',
    ],
    [
      'one for another directory',
      sign(tdOf(id), meter, { ...use, directory: 'urn:there' }),
      'VerificationError td-elsewhere',
    ],
    ['no base64url', { ...signed, [proofMember]: '%' }, 'MalformedError message-malformed'],
    ['an object', { ...signed, [proofMember]: {} }, 'VerificationError td-unsigned'],
    ['a long one', { ...signed, [proofMember]: 'A'.repeat(40_000) }, 'MalformedError too-large'],
  ])('is refused with %s', (_, td, code) => {
    expect(verdict(td)).toBe(code);
  });

  it('is refused under another root, and when its certificate has ended', () => {
    const elsewhere = makeNeighbourhood(suite, 2, 'elsewhere');
    expect(verdict(signed, { trustedRoots: [elsewhere.root] })).toBe('VerificationError certificate-untrusted');
    const brief = n.certify('meter', 'brief', { notAfterS: nowS + 60 });
    const ofBrief = sign(tdOf('urn:gridring:meter:brief'), brief);
    expect(verdict(ofBrief)).toBe('accepted');
    expect(verdict(ofBrief, { nowS: nowS + 61 + limits.clockSkewS })).toBe('VerificationError certificate-expired');
  });

  it('is refused with the certificate of one and the signature of another, and with that of another message', () => {
    const message = parseSign1(fromBase64Url(String(signed[proofMember])), 10_000);
    const withProof = (bytes: Uint8Array): Td => ({ ...signed, [proofMember]: toBase64Url(bytes) });
    const resigned = (by: Principal, kid: Uint8Array, type: string): string =>
      verdict(withProof(sign1(suite, by.signer, kid, { type, context: meter.certHash }, message.payload)));
    expect(resigned(other, other.kid, 'registration')).toBe('VerificationError wrong-signer');
    expect(resigned(other, meter.kid, 'registration')).toBe('VerificationError signature-invalid');
    expect(resigned(meter, meter.kid, 'enrolment')).toBe('VerificationError signature-invalid');
  });

  it('is refused where the payload is of another form', () => {
    const { payload } = parseSign1(fromBase64Url(String(signed[proofMember])), 10_000);
    const fields = decodeStrict(payload, 10_000) as readonly CborItem[];
    const withFields = (changed: readonly CborItem[]): string => {
      const proof = sign1(
        suite,
        meter.signer,
        meter.kid,
        { type: 'registration', context: meter.certHash },
        encode(changed),
      );
      return verdict({ ...signed, [proofMember]: toBase64Url(proof) });
    };
    expect(withFields(fields)).toBe('accepted');
    for (const changed of [
      fields.slice(1),
      [[], ...fields.slice(1)],
      [...fields, 0],
      [...fields.slice(0, 2), -1, fields[3]!],
    ]) {
      expect(withFields(changed)).toBe('MalformedError message-malformed');
    }
    expect(withFields([fields[0]!, utf8('x'.repeat(257)), ...fields.slice(2)])).toBe(
      'MalformedError message-malformed',
    );
  });
});

describe('canonical JSON', () => {
  it.each<[string, unknown, string]>([
    [
      'names by their code units',
      { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 },
      '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}',
    ],
    [
      'numbers as ECMAScript writes them',
      [333333333.33333329, 1e30, 4.5, 2e-3, 1e-27, -0],
      '[333333333.3333333,1e+30,4.5,0.002,1e-27,0]',
    ],
    ['escapes as short as they go', '\u20ac$\u000f\nA\'B"\\/', '"\u20ac$\\u000f\\nA\'B\\"\\\\/"'],
    ['literals, and what is nested', { a: [null, true, { c: false, b: {} }] }, '{"a":[null,true,{"b":{},"c":false}]}'],
  ])('has %s, as the examples of RFC 8785 do', (_, value, text) => {
    expect(canonicalJson(value)).toBe(text);
  });
});
