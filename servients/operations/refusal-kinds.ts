/** What kind of refusal a code is: operators are to see at a glance whether somebody lost a key, replays, or is merely late. */

type RefusalKind =
  | 'wrong-key'
  | 'replay'
  | 'stale-epoch'
  | 'bad-signature'
  | 'equivocation'
  | 'certificate'
  | 'membership'
  | 'token'
  | 'malformed'
  | 'limit'
  | 'other';

/** The first that fits. */
const patterns: readonly (readonly [RefusalKind, RegExp])[] = [
  ['bad-signature', /^(?:signature-invalid|certificate-signature)$/],
  ['replay', /replay|^(?:sequence-conflict|chain-broken|request-stale|enrolment-stale|command-(?:early|expired))$/],
  ['stale-epoch', /^(?:epoch-(?:stale|ahead|stopped|unknown)|endorsement-stale|endorsement-early|wrong-round|announcement-expired|session-aborted)$/], // prettier-ignore
  ['equivocation', /equivocation$|^(?:tokens-conflict|tokens-inconsistent)$/],
  ['wrong-key', /(?:^|-)(?:key|keyless|mac)(?:-|$)|^(?:seal-invalid|grant-not-mine|hpke-open-failed|wrong-signer|algorithm-mismatch|suite-mismatch)$/], // prettier-ignore
  ['certificate', /^certificate-/],
  ['membership', /^(?:membership|roster|delegation|quorum|members?)-|^(?:not-listed|wrong-group|quarantined)$/],
  ['token', /^(?:token|proof|scope|account|login|grant)-|^(?:token|not-a-device|scope)$/],
  ['malformed', /malformed$|invalid$|unsupported$|mismatch$|^(?:cbor|cose|senml)-/],
  ['limit', /^(?:too-|slow-reader|request-timeout|dropped-|observers-full)/],
];

export const refusalKindOf = (code: string): RefusalKind =>
  patterns.find(([, pattern]) => pattern.test(code))?.[0] ?? 'other';
