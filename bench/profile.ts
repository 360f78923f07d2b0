/** Where a member's time goes, told by V8's sampling profiler: each sample counts for the innermost of these parts. */
import { Session, type Profiler, type Runtime } from 'node:inspector/promises';
import type { Group } from './group.js';

const parts = ['publicKey', 'hashing', 'cbor', 'cose', 'other', 'garbage'] as const;
type Part = (typeof parts)[number];
/** Fractions that add up to 1. */
export type MemberShares = Readonly<Record<Part, number>>;

const steps: ReadonlySet<string> = new Set(['onAnnouncement', 'onRoster', 'onTokens', 'onConfirmations']);
const samplingIntervalUs = 100;

/**
 * Readies V8's profiler. Code that was optimized before this does not know any more which of its functions a sample is
 * in, so this comes first; it is closed by `memberShares`.
 */
export async function openProfiler(): Promise<Session> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  return session;
}

/** Profiles `epochs` epochs of the group; the coordinator's samples are left out. */
export async function memberShares(session: Session, group: Group, epochs: number): Promise<MemberShares> {
  try {
    await session.post('Profiler.setSamplingInterval', { interval: samplingIntervalUs });
    await session.post('Profiler.start');
    for (let i = 0; i < epochs; i++) group.run((_part, work) => work());
    return sharesOf((await session.post('Profiler.stop')).profile);
  } finally {
    session.disconnect();
  }
}

function sharesOf({ nodes, samples = [] }: Profiler.Profile): MemberShares {
  const partOf = partsByNode(nodes);
  const counts: Record<Part, number> = { publicKey: 0, hashing: 0, cbor: 0, cose: 0, other: 0, garbage: 0 };
  let running: Part | undefined;
  for (const id of samples) {
    const part = partOf.get(id);
    if (part !== 'garbage') running = part;
    // The collector has no caller: it works for whoever ran before it.
    if (running !== undefined && part !== undefined) counts[part]++;
  }
  const total = Math.max(1, Object.values(counts).reduce((sum, count) => sum + count, 0)); // prettier-ignore
  return Object.fromEntries(parts.map((part) => [part, counts[part] / total])) as MemberShares;
}

/** The part of every node of the call tree that is within a member's step, or the collector. */
function partsByNode(nodes: readonly Profiler.ProfileNode[]): ReadonlyMap<number, Part | undefined> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const found = new Map<number, Part | undefined>();
  const visit = ({ id, callFrame, children = [] }: Profiler.ProfileNode, outer: Part | undefined): void => {
    const part = ownPart(callFrame, outer !== undefined) ?? outer;
    found.set(id, part);
    for (const child of children) {
      const node = byId.get(child);
      if (node) visit(node, part);
    }
  };
  const root = nodes.find(({ callFrame }) => callFrame.functionName === '(root)');
  if (root) visit(root, undefined);
  return found;
}

function ownPart({ functionName, url }: Runtime.CallFrame, inStep: boolean): Part | undefined {
  if (functionName === '(garbage collector)') return 'garbage';
  if (!inStep) return url.includes('/crypto/ring/member.') && steps.has(functionName) ? 'other' : undefined;
  if (url.includes('/crypto/suite-node.')) {
    return /^(?:sha256|publicSha256|fromBinary|hmacSha256)$/.test(functionName) ? 'hashing' : 'publicKey';
  }
  if (/\/crypto\/(?:hash|hpke)\./.test(url)) return 'hashing';
  if (url.includes('/crypto/keys.')) return 'publicKey';
  if (/\/crypto\/cbor[./]/.test(url)) return 'cbor';
  return url.includes('/crypto/cose.') ? 'cose' : undefined;
}
