/** Whether an audit log is what its checkpoints say: every entry there, unaltered and in its place. */
import { equalBytes } from '../bytes.js';
import type { Suite } from '../suite.js';
import type { AuditCheckpoint } from './checkpoint.js';
import { auditHash, type AuditEntry, type AuditPlace } from './entry.js';

/**
 * `altered`: an entry whose contents have another hash. `missing`: sequences that are not there. `misplaced`: an entry
 * that does not follow the one before it. `contradicts-checkpoint`: other entries than a backend has signed for.
 * `checkpoint-missing`: a number that is not there, or a log that does not end (begin) with one. `other-log`: a checkpoint
 * of another log. `truncated`: a checkpoint tells of entries behind the end.
 */
export interface AuditFinding {
  readonly kind:
    'altered' | 'missing' | 'misplaced' | 'contradicts-checkpoint' | 'checkpoint-missing' | 'other-log' | 'truncated';
  /** Sequences from `first` to `last`, both included; of checkpoints, their numbers. */
  readonly first: number;
  readonly last: number;
}

export interface AuditLogParts {
  readonly suite: Suite;
  /** 16 bytes. */
  readonly log: Uint8Array;
  /** Where it begins: at its start, or after what was given up. */
  readonly start: AuditPlace;
  /** Verified, in the order in which they are shown. */
  readonly checkpoints: readonly AuditCheckpoint[];
  /** From elsewhere, verified too: the log must hold what they tell of. */
  readonly kept: readonly AuditCheckpoint[];
}

/** Entries are added as they are shown, one after the other. */
export class AuditVerifier {
  readonly #parts: AuditLogParts;
  readonly #findings: AuditFinding[] = [];
  /** Hashes that checkpoints give, by sequence. */
  readonly #signed = new Map<number, Uint8Array[]>();
  #before: AuditPlace;
  #entries = 0;

  constructor(parts: AuditLogParts) {
    this.#parts = parts;
    this.#before = parts.start;
    for (const { log, sequence, hash, number } of [...parts.checkpoints, ...parts.kept]) {
      if (equalBytes(log, parts.log)) this.#signed.set(sequence, [...(this.#signed.get(sequence) ?? []), hash]);
      else this.#find('other-log', number);
    }
    this.#checkNumbers();
    this.#compare(parts.start);
  }

  add(entry: AuditEntry): void {
    const { sequence, previousHash } = entry;
    const hash = auditHash(this.#parts.suite, this.#parts.log, entry);
    if (!equalBytes(hash, entry.hash)) this.#find('altered', sequence);
    const expected = this.#before.sequence + 1;
    if (sequence > expected) this.#find('missing', expected, sequence - 1);
    else if (sequence < expected || !equalBytes(previousHash, this.#before.hash)) this.#find('misplaced', sequence);
    this.#before = { sequence, hash };
    this.#compare(this.#before);
    this.#entries += 1;
  }

  /** `sealed`: whether the log must end with a checkpoint, as an export does. */
  end({ sealed }: { readonly sealed: boolean }): AuditResult {
    const { sequence } = this.#before;
    const { checkpoints, start } = this.#parts;
    const lastSigned = Math.max(start.sequence, ...checkpoints.map((checkpoint) => checkpoint.sequence));
    const lastKept = Math.max(0, ...this.#signed.keys());
    if (lastKept > sequence) this.#find('truncated', sequence + 1, lastKept);
    const unsealed = Math.max(0, sequence - lastSigned);
    if (sealed && unsealed > 0) this.#find('checkpoint-missing', (checkpoints.at(-1)?.number ?? 0) + 1);
    return {
      entries: this.#entries,
      lastSequence: sequence,
      checkpoints: checkpoints.length,
      unsealed,
      uncompared: this.#parts.kept.filter((kept) => kept.sequence < start.sequence).length,
      findings: this.#findings,
    };
  }

  #checkNumbers(): void {
    const { checkpoints, start } = this.#parts;
    const [first] = checkpoints;
    // A log that begins after others begins with the checkpoint that closes those.
    if (start.sequence === 0 ? first !== undefined && first.number !== 1 : first?.sequence !== start.sequence) {
      this.#find('checkpoint-missing', 1, Math.max(1, (first?.number ?? 2) - 1));
    }
    for (const [i, { number, sequence }] of checkpoints.entries()) {
      const before = checkpoints[i - 1];
      if (before && (number !== before.number + 1 || sequence <= before.sequence)) {
        this.#find('checkpoint-missing', before.number + 1, Math.max(before.number + 1, number - 1));
      }
    }
  }

  #compare({ sequence, hash }: AuditPlace): void {
    const signed = this.#signed.get(sequence) ?? [];
    if (!signed.every((each) => equalBytes(each, hash))) this.#find('contradicts-checkpoint', sequence);
  }

  #find(kind: AuditFinding['kind'], first: number, last = first): void {
    this.#findings.push({ kind, first, last });
  }
}

export interface AuditResult {
  readonly entries: number;
  readonly lastSequence: number;
  readonly checkpoints: number;
  /** Entries after the last checkpoint: nobody has signed for them yet. */
  readonly unsealed: number;
  /** Kept checkpoints that end before the log begins: what they tell of was given up. */
  readonly uncompared: number;
  readonly findings: readonly AuditFinding[];
}
