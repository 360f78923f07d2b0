/** Do the tokens of a session fit together? What is found wrong is named, for the abort (protocol §5). */
import { equalBytes, equalSecret, xorBytes } from '../bytes.js';
import type { Suite } from '../suite.js';
import type { AbortReason, TokenParts } from './messages.js';
import type { Ring } from './roster.js';
import { commitmentTo, tagOf, walkRing } from './schedule.js';

export interface TokenFault {
  readonly reason: AbortReason;
  /** certHash of whom the public values convict, once signed; null when only revealed ephemerals can tell. */
  readonly accused: Uint8Array | null;
}

/**
 * What anyone can check without a key: every commitment opens, the XOR of all tokens is zero, and both ends of an edge
 * show the same tag for it.
 */
export function publicTokenFault(suite: Suite, ring: Ring, tokens: readonly TokenParts[]): TokenFault | null {
  const liar = ring.members.find((_, i) => !opensCommitment(suite, ring, tokens, i));
  if (liar) return { reason: 'commitment', accused: liar.certHash };
  const sum = tokens.reduce<Uint8Array>((total, { token }) => xorBytes(total, token), new Uint8Array(32));
  if (sum.some((byte) => byte !== 0)) return { reason: 'sum', accused: null };
  const tagsAgree = tokens.every(({ rightTag }, i) => {
    const right = tokens[(i + 1) % tokens.length];
    return right !== undefined && equalBytes(rightTag, right.leftTag);
  });
  return tagsAgree ? null : { reason: 'tag', accused: null };
}

/** Whether the member at a position has opened what its share committed to. */
export function opensCommitment(
  suite: Suite,
  { annId, members }: Ring,
  tokens: readonly TokenParts[],
  position: number,
): boolean {
  const [member, parts] = [members[position], tokens[position]];
  if (!member || !parts) return false;
  return equalBytes(commitmentTo(suite, annId, member.certHash, parts.opening), member.commitment);
}

/**
 * The edges e_0 … e_{n−1} as one member sees them, or what does not fit: with a sum of zero, walking right from the
 * right edge ends at the left edge, and every tag on the way must be that of the edge.
 */
export function openTokens(
  suite: Suite,
  ring: Ring,
  tokens: readonly TokenParts[],
  own: { readonly index: number; readonly leftEdge: Uint8Array; readonly rightEdge: Uint8Array },
): { readonly edges: readonly Uint8Array[] } | { readonly fault: TokenFault } {
  const publicFault = publicTokenFault(suite, ring, tokens);
  if (publicFault) return { fault: publicFault };
  const n = tokens.length;
  const edges = walkRing(tokens, own.index, own.rightEdge);
  const closes = equalSecret(edges[(own.index + n - 1) % n] ?? own.rightEdge, own.leftEdge);
  const tags = edges.map((edge, i) => tagOf(suite, ring.th1, i, edge));
  const fits = tokens.every(
    ({ leftTag, rightTag }, i) =>
      equalSecret(leftTag, tags[(i + n - 1) % n] ?? rightTag) && equalSecret(rightTag, tags[i] ?? leftTag),
  );
  if (closes && fits) return { edges };
  for (const edge of edges) edge.fill(0);
  return { fault: { reason: closes ? 'tag' : 'sum', accused: null } };
}
