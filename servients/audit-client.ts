/** The audit log of a backend, page by page. */
import { parseAuditCheckpoint } from '../crypto/audit/checkpoint.js';
import type { AuditEntry } from '../crypto/audit/entry.js';
import { fromBase64Url } from '../crypto/bytes.js';
import { MalformedError } from '../crypto/errors.js';
import { checkpointLine, entryLine, headerLine, startOf } from './audit-file.js';
import { parseAuditEntryJson } from './audit-json.js';
import type { BackendClient } from './backend-client.js';

const pageSize = 1_000;

export class AuditClient {
  readonly #backend: Pick<BackendClient, 'get' | 'post'>;

  constructor(backend: Pick<BackendClient, 'get' | 'post'>) {
    this.#backend = backend;
  }

  /** The last entries that fit, ascending. @throws PeerRefusal, UnavailableError, MalformedError */
  async last(limit: number, filter: Readonly<Record<string, string>>): Promise<readonly AuditEntry[]> {
    const query = new URLSearchParams({ ...filter, last: String(limit) });
    return entriesOf(await this.#backend.get(`audit?${query.toString()}`));
  }

  /** All of them up to a sequence, ascending. */
  async *entries(upTo: number): AsyncGenerator<AuditEntry, void, undefined> {
    for (let after = 0; after < upTo;) {
      const page = entriesOf(await this.#backend.get(`audit?after=${after}&limit=${pageSize}`));
      for (const entry of page) if (entry.sequence <= upTo) yield entry;
      const last = page.at(-1)?.sequence ?? upTo;
      // Whoever answers with the same page for ever must not keep us.
      if (last <= after) return;
      after = last;
    }
  }

  /** Has the backend sign how far the log has come. @returns the newest checkpoint */
  async checkpoint(): Promise<Uint8Array> {
    return messageOf(await this.#backend.post('audit/checkpoints'));
  }

  /** All of them, ascending by number. */
  async checkpoints(): Promise<readonly Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (let after = 0; ;) {
      const { checkpoints, next } = (await this.#backend.get(`audit/checkpoints?after=${after}&limit=${pageSize}`)) as {
        readonly checkpoints?: unknown;
        readonly next?: unknown;
      };
      found.push(...arrayOf(checkpoints).map(messageOf));
      if (typeof next !== 'number' || next <= after) return found;
      after = next;
    }
  }
}

const entriesOf = (page: unknown): readonly AuditEntry[] =>
  arrayOf((page as { readonly entries?: unknown } | null)?.entries).map(parseAuditEntryJson);

const arrayOf = (value: unknown): readonly unknown[] => {
  if (!Array.isArray(value)) throw malformed();
  return value as readonly unknown[];
};

function messageOf(checkpoint: unknown): Uint8Array {
  const message = (checkpoint as { readonly message?: unknown } | null)?.message;
  if (typeof message !== 'string') throw malformed();
  try {
    return fromBase64Url(message);
  } catch (cause) {
    throw malformed(cause);
  }
}

const malformed = (cause?: unknown): MalformedError =>
  new MalformedError('message-malformed', 'the backend gave no audit log', cause);

/** The lines of an export, up to a checkpoint that the backend signs for it. @throws as `AuditClient` */
export async function* exportLines(client: AuditClient): AsyncGenerator<string, void, undefined> {
  const newest = parseAuditCheckpoint(await client.checkpoint());
  const checkpoints = (await client.checkpoints()).filter(
    (message) => parseAuditCheckpoint(message).sequence <= newest.sequence,
  );
  const entries = client.entries(newest.sequence);
  const first = await entries.next();
  const firstEntry = first.done === true ? undefined : first.value;
  yield headerLine({ log: newest.log, start: startOf(firstEntry, checkpoints[0]) });
  for (const message of checkpoints) yield checkpointLine(message);
  if (firstEntry) yield entryLine(firstEntry);
  for await (const entry of entries) yield entryLine(entry);
}
