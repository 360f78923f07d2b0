/** What is found in a chain, in words and as JSON. */
import { toHex } from '../../crypto/bytes.js';
import { isWhole, type ChainFindings, type Stretch } from '../../crypto/envelope/audit.js';
import type { Checkpoint } from '../../crypto/envelope/checkpoint.js';
import type { GapReport } from '../../crypto/envelope/gap-report.js';

const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString().replace('.000Z', 'Z');
export const isoDay = (day: number): string => isoTime(day * 86_400).slice(0, 10);

export const findingsJson = (findings: ChainFindings): object => ({
  complete: isWhole(findings),
  entries: findings.entries,
  readings: findings.readings,
  lastSequence: findings.lastSequence,
  missing: findings.missing,
  givenUp: findings.givenUp,
  broken: findings.broken,
  miscounted: findings.miscounted,
  reports: findings.reports.map(reportJson),
  checkpoint: findings.checkpoint && checkpointJson(findings.checkpoint),
});

const reportJson = ({ sequence, cause, sinceS, untilS, quantities }: GapReport): object => ({
  sequence,
  cause,
  since: sinceS === null ? null : isoTime(sinceS),
  until: untilS === null ? null : isoTime(untilS),
  quantities,
});

export const checkpointJson = ({ sequence, day, first, readings, hash }: Checkpoint): object => ({
  sequence,
  day: isoDay(day),
  first,
  readings,
  hash: toHex(hash),
});

export function findingsLines(meter: string, findings: ChainFindings): readonly string[] {
  const { entries, readings, lastSequence, checkpoint, reports } = findings;
  if (entries + findings.givenUp.length === 0) return [`${meter}  NOT complete: nothing is there`];
  const state = isWhole(findings) ? 'complete' : 'NOT complete';
  const proof = checkpoint
    ? `proven to ${checkpoint.sequence}, by the checkpoint of ${isoDay(checkpoint.day)}`
    : 'no checkpoint yet';
  return [
    `${meter}  ${state}: ${readings} readings, ${entries} entries up to ${lastSequence}; ${proof}`,
    ...findings.missing.map((stretch) => `  missing   ${stretchText(stretch)}, and no report explains it`),
    ...findings.givenUp.map((stretch) => `  given up  ${stretchText(stretch)}, by the backend’s policy`),
    ...findings.broken.map((sequence) => `  broken    ${sequence} does not follow the entry before it`),
    ...findings.miscounted.map((sequence) => `  miscount  the checkpoint ${sequence} counts other readings`),
    ...reports.map(reportLine),
  ];
}

const stretchText = ({ first, last }: Stretch): string =>
  first === last ? `sequence ${first}` : `sequences ${first} to ${last} (${last - first + 1})`;

function reportLine({ sequence, cause, sinceS, untilS, quantities }: GapReport): string {
  const [since, until] = [sinceS, untilS].map((timeS) => (timeS === null ? 'unknown' : isoTime(timeS)));
  return `  reported  ${since} to ${until}: ${cause}, ${quantities?.join(' ') ?? 'everything'} (${sequence})`;
}
