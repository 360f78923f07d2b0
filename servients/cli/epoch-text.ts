/** Epochs and their proofs as people and programs read them. */
import { equalBytes, toBase64Url, toHex } from '../../crypto/bytes.js';
import type { Membership } from '../../crypto/membership.js';
import type { VerifiedVerdict } from '../../crypto/ring/blame.js';
import type { VerifiedProof } from '../../crypto/ring/proof.js';
import type { Readability } from '../key-holders.js';

const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();
const keyNameOf = ({ record }: VerifiedProof): string => toHex(record.name.th2.subarray(0, 8));
/** The authority's own list by its version alone. */
export const listName = (version: number, revision: number): string =>
  revision === 0 ? String(version) : `${version}.${revision}`;
const listOf = ({ membership: { list } }: VerifiedProof): string => listName(list.version, list.revision);
const idIn = ({ list, certificates }: Membership, certHash: Uint8Array): string => {
  const index = list.entries.findIndex((entry) => equalBytes(entry.certHash, certHash));
  return certificates[index]?.id ?? toHex(certHash);
};
const coordinatorOf = ({ membership, record }: VerifiedProof): string =>
  `urn:gridring:gateway:${idIn(membership, record.announcement.coordinator)}`;
const endorserOf = ({ endorsement }: VerifiedProof): string => `urn:gridring:backend:${endorsement.backend.id}`;
const nameOf = ({ record: { name } }: VerifiedProof): string => `epoch ${name.epoch}, attempt ${name.attempt}`;
const ids = ({ holders }: VerifiedProof): string => holders.map(({ certificate }) => certificate.id).join(', ');

const aligned = (rows: readonly (readonly [string, string])[]): readonly string[] => {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`);
};

/** `recordedAt` is the backend's word. */
export const epochLines = (proof: VerifiedProof, recordedAt: string): readonly string[] => [
  `${nameOf(proof)}, of group ${toHex(proof.record.name.gid)}`,
  ...aligned([
    ['reason', proof.record.announcement.reason],
    ['announced by', coordinatorOf(proof)],
    ['recorded', recordedAt],
    ['list', `${listOf(proof)} (${toHex(proof.membership.listHash.subarray(0, 8))})`],
    ['profile', proof.membership.list.policy.profile],
    ['key', keyNameOf(proof)],
    ['public key', toHex(proof.record.groupPublicKey)],
    ['state', `endorsed by ${endorserOf(proof)}`],
    ['members', `${proof.holders.length}, in ring order: ${ids(proof)}`],
  ]),
];

interface Asked {
  readonly meter?: string;
  readonly canRead?: boolean;
}

/** What has been checked, in its order; and whether a meter holds the key, where one is named. */
export const checkLines = (proof: VerifiedProof, { meter, canRead }: Asked = {}): readonly string[] => {
  const n = proof.holders.length;
  const signatures = `${n} signatures`;
  return [
    `${nameOf(proof)}, of group ${toHex(proof.record.name.gid)}: the proof verifies`,
    ...aligned([
      ['membership list', `${listOf(proof)}, signed by the authority, valid at ${isoTime(proof.asAtS)}`],
      ['announcement', `${proof.record.announcement.reason}, signed by ${coordinatorOf(proof)}`],
      ['roster', `${n} members of the list, a quorum, in ring order: ${ids(proof)}`],
      ['shares', signatures],
      ['tokens', `${signatures}; commitments open, the sum is zero, both ends of each edge agree`],
      ['confirmations', `${signatures} of one key, ${keyNameOf(proof)}`],
      ['endorsement', `signed by ${endorserOf(proof)} for this record`],
    ]),
    ...(meter === undefined
      ? []
      : [`${canRead ? 'yes' : 'no'}: ${meter} ${canRead ? 'holds' : 'does not hold'} the key`]),
  ];
};

export const epochJson = (proof: VerifiedProof): object => {
  const { name, announcement, groupPublicKey } = proof.record;
  const { list, listHash } = proof.membership;
  return {
    gid: toHex(name.gid),
    epoch: name.epoch,
    attempt: name.attempt,
    keyName: keyNameOf(proof),
    th2: toHex(name.th2),
    groupPublicKey: toHex(groupPublicKey),
    reason: announcement.reason,
    announcedBy: coordinatorOf(proof),
    listVersion: list.version,
    listRevision: list.revision,
    listHash: toHex(listHash),
    profile: list.policy.profile,
    provisional: false,
    endorsedBy: endorserOf(proof),
    asAt: isoTime(proof.asAtS),
    members: proof.holders.map(({ certificate }) => ({
      id: `urn:gridring:meter:${certificate.id}`,
      certHash: toHex(certificate.certHash),
    })),
  };
};

export function readabilityLines(meter: string, answer: Readability): readonly string[] {
  const { proof, holder, listed } = answer;
  const verdict = holder
    ? [
        `yes: ${meter} holds the key of ${nameOf(proof)} (${keyNameOf(proof)})`,
        `     it confirmed that key with its signature, in the record endorsed by ${endorserOf(proof)}`,
      ]
    : [
        `no: ${meter} does not hold the key of ${nameOf(proof)} (${keyNameOf(proof)})`,
        `    all who do signed for it: ${ids(proof)}`,
        `    list ${listOf(proof)} ${listed ? 'names it, but it took no part' : 'does not name it'}`,
      ];
  return [...verdict, ...removalLines(answer)];
}

function removalLines({ removal }: Readability): readonly string[] {
  if (!removal) return [];
  const { list, firstEpoch, tookS } = removal;
  const removed = `list ${listName(list.listVersion, list.listRevision)}, published ${list.publishedAt}, removed it`;
  return [
    firstEpoch
      ? `    ${removed}; epoch ${firstEpoch.epoch}, recorded ${firstEpoch.recordedAt}, is the first without it: ${tookS ? `${tookS} s` : 'within a second'}`
      : `    ${removed}; no epoch without it is recorded yet`,
  ];
}

export const readabilityJson = ({ proof, holder, listed, removal }: Readability): object => ({
  canRead: holder !== undefined,
  listed,
  ...(holder && { confirmation: toBase64Url(holder.confirmation) }),
  ...(removal && {
    removedBy: removal.list,
    ...(removal.firstEpoch && { firstEpochWithout: removal.firstEpoch.epoch, tookS: removal.tookS }),
  }),
  ...epochJson(proof),
});

const accusations = {
  commitment: 'opened another number than its share committed to',
  reveal: 'revealed another secret than that of its share',
  token: 'signed a token or tags that are not those of its edges',
} as const;

/** Who is convicted by what they signed, and who has shown nothing. */
export const verdictLines = (membership: Membership, verdict: VerifiedVerdict): readonly string[] => {
  const { announcement, accused, silent } = verdict;
  return [
    `epoch ${announcement.epoch}, attempt ${announcement.attempt}, of group ${toHex(announcement.gid)}: the verdict verifies`,
    ...aligned([
      ['signed by', `urn:gridring:gateway:${idIn(membership, announcement.coordinator)}`],
      ...accused.map(
        ({ certHash, accusation }) =>
          ['accused', `${idIn(membership, certHash)}: it ${accusations[accusation]}`] as const,
      ),
      ...silent.map((certHash) => ['silent', idIn(membership, certHash)] as const),
    ]),
  ];
};

export const verdictJson = (membership: Membership, { announcement, accused, silent }: VerifiedVerdict): object => ({
  gid: toHex(announcement.gid),
  epoch: announcement.epoch,
  attempt: announcement.attempt,
  announcedBy: `urn:gridring:gateway:${idIn(membership, announcement.coordinator)}`,
  accused: accused.map(({ certHash, accusation }) => ({ ...personOf(membership, certHash), accusation })),
  silent: silent.map((certHash) => personOf(membership, certHash)),
});

const personOf = (membership: Membership, certHash: Uint8Array) => ({
  id: `urn:gridring:meter:${idIn(membership, certHash)}`,
  certHash: toHex(certHash),
});
