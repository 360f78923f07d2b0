/** An operator's side of commands: signs them with its own key, and opens what meters answer. The backend only carries both. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { equalBytes, fromBase64Url, toHex } from '../crypto/bytes.js';
import {
  makeCommand,
  nextSequence,
  openCommandReceipt,
  parseCommand,
  verifyCommandReceipt,
  type Command,
} from '../crypto/envelope/command.js';
import type { Operation } from '../crypto/envelope/operation.js';
import { ConflictError, GridringError, MalformedError, NotFoundError, SetupError } from '../crypto/errors.js';
import { compareLists, findEntry, type Membership } from '../crypto/membership.js';
import type { VerifiedRecord } from '../crypto/ring/record.js';
import type { BackendClient } from './backend-client.js';
import { backendOf } from './chain-client.js';
import { writeDurably } from './durable-file.js';
import { EpochLog } from './epoch-log.js';
import { readText } from './identity-files.js';
import type { ReaderKeys } from './reader-file.js';

/** What became of a command at one meter, as its own signature says; null as long as it has not answered. */
export interface TargetOutcome {
  /** `meter-01`, or the certHash in hex where no list names it any more. */
  readonly meter: string;
  readonly outcome: { readonly code: string | null; readonly doneS: number } | null;
  /** Why the receipt that the backend shows is none. */
  readonly refused?: string;
}

export interface CommandStatus {
  /** In hex. */
  readonly id: string;
  readonly epoch: number;
  readonly expiresS: number;
  readonly targets: readonly TargetOutcome[];
}

/** The newest of a group that this operator has relied on: a backend shows nothing older (protocol §7). */
interface Seen {
  readonly epoch: number;
  readonly attempt: number;
  readonly version: number;
  readonly revision: number;
}

interface Journal {
  /** Of the last command. */
  readonly sequence: number;
  /** By gid in hex. */
  readonly seen: Readonly<Record<string, Seen>>;
}

const counter = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const isJournal = new Ajv().compile<Journal>({
  type: 'object',
  properties: {
    sequence: counter,
    seen: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        properties: { epoch: counter, attempt: counter, version: counter, revision: counter },
        required: ['epoch', 'attempt', 'version', 'revision'],
        additionalProperties: false,
      },
    },
  },
  required: ['sequence', 'seen'],
  additionalProperties: false,
});

export interface Order {
  /** Ids or certHashes in hex; `all` alone: every member of the epoch. */
  readonly meters: readonly string[];
  readonly operation: Operation;
  readonly lastsS: number;
  /** Where the backend has several. */
  readonly gid?: string | undefined;
}

export class Operator {
  readonly #keys: ReaderKeys;
  readonly #journalFile: string;
  readonly #nowS: () => number;
  readonly #log: EpochLog;
  readonly #backend: BackendClient;

  /** @param folder of the key file, in which it is written down what was used */
  constructor(keys: ReaderKeys, folder: string, nowS: () => number) {
    this.#keys = keys;
    this.#journalFile = join(folder, 'commands.json');
    this.#nowS = nowS;
    this.#log = new EpochLog(keys, nowS);
    this.#backend = backendOf(keys, nowS);
  }

  /**
   * Signs a command to members of the newest epoch, and gives it to the backend. Its number is on disk before.
   * @returns its id in hex
   * @throws PeerRefusal, UnavailableError, VerificationError; NotFoundError `meter-unknown`; SetupError `not-an-operator`;
   * ConflictError `epoch-rollback`, `epoch-outdated`
   */
  async send({ meters, operation, lastsS, gid: chosen }: Order): Promise<string> {
    const { suite, certificate, signer } = this.#keys;
    const gid = chosen ?? (await this.#log.onlyGroup());
    const membership = await this.#log.newestMembership(gid);
    const entry = findEntry(membership.list, certificate.certHash, 'operator')?.entry;
    if (!entry?.hpkeKey) {
      throw new SetupError(
        'not-an-operator',
        'the list of the group names no operator with this key and its HPKE key: "gridring membership add" puts both there',
      );
    }
    const { record } = await this.#log.proof(await this.#log.find(gid));
    assertUsable(record, membership);
    const { name, groupPublicKey, roster } = record;
    const targets = meters.includes('all') ? roster : meters.map((meter) => targetNamed(membership, roster, meter));
    const sequence = this.#reserve(gid, record, membership);
    const order = {
      ...{ name, groupPublicKey, sequence, targets, operation },
      operator: { certHash: certificate.certHash, kid: certificate.kid, signer },
      expiresS: this.#nowS() + lastsS,
    };
    const message = makeCommand(suite, order, randomBytes);
    await this.#backend.command(message);
    return toHex(parseCommand(suite, message).id);
  }

  /** @throws PeerRefusal `command-unknown`, UnavailableError; MalformedError, VerificationError where it shows another */
  async status(id: string): Promise<CommandStatus> {
    const { suite } = this.#keys;
    const shown = shownCommand(await this.#backend.get(`commands/${id}`));
    const command = parseCommand(suite, shown.message);
    if (toHex(command.id) !== id) throw new MalformedError('message-malformed', 'the backend shows another command');
    const membership = await this.#log.newestMembership(toHex(command.name.gid));
    return {
      id,
      epoch: command.name.epoch,
      expiresS: command.expiresS,
      targets: command.targets.map((target) => this.#outcomeOf(membership, command, target, shown.receipts)),
    };
  }

  #outcomeOf(
    membership: Membership,
    command: Command,
    target: Uint8Array,
    receipts: ReadonlyMap<string, Uint8Array>,
  ): TargetOutcome {
    const { suite, hpkeKey } = this.#keys;
    const meter = nameOf(membership, target);
    const receipt = receipts.get(toHex(target));
    if (!receipt) return { meter, outcome: null };
    try {
      const verified = verifyCommandReceipt({ suite, membership, nowS: this.#nowS() }, command, receipt);
      if (!equalBytes(verified.meter, target)) return { meter, outcome: null, refused: 'receipt-mismatch' };
      return { meter, outcome: openCommandReceipt(suite, hpkeKey, verified) };
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      return { meter, outcome: null, refused: error.code };
    }
  }

  /** @throws ConflictError `epoch-rollback` */
  #reserve(gid: string, { name }: VerifiedRecord, { list }: Membership): number {
    const journal = this.#readJournal();
    const before = journal.seen[gid];
    const isOlder = before && (name.epoch - before.epoch || name.attempt - before.attempt) < 0;
    if (isOlder || (before && compareLists(list, before) < 0)) {
      throw new ConflictError(
        'epoch-rollback',
        'the backend shows an epoch or list that is older than one it has shown',
      );
    }
    const sequence = nextSequence(journal.sequence, this.#nowS());
    const { epoch, attempt } = name;
    const { version, revision } = list;
    const seen = { ...journal.seen, [gid]: { epoch, attempt, version, revision } };
    writeDurably(this.#journalFile, `${JSON.stringify({ sequence, seen } satisfies Journal, null, 2)}\n`, 0o600);
    return sequence;
  }

  #readJournal(): Journal {
    if (!existsSync(this.#journalFile)) return { sequence: 0, seen: {} };
    try {
      const journal: unknown = JSON.parse(readText(this.#journalFile, 'journal of commands'));
      if (isJournal(journal)) return journal;
    } catch (cause) {
      if (cause instanceof SetupError) throw cause;
    }
    throw new SetupError(
      'journal-unusable',
      `${this.#journalFile} is damaged: restore it, or wait a minute and remove it`,
    );
  }
}

/** Nobody who holds the key may have left the list since: it would read the command. @throws ConflictError `epoch-outdated` */
function assertUsable({ roster }: VerifiedRecord, { list }: Membership): void {
  if (roster.every((member) => findEntry(list, member, 'member'))) return;
  throw new ConflictError(
    'epoch-outdated',
    'a member of the newest epoch was removed: wait for the next epoch, and try again',
  );
}

function targetNamed({ list, certificates }: Membership, roster: readonly Uint8Array[], meter: string): Uint8Array {
  const id = meter.replace(/^urn:gridring:meter:/, '');
  const target = roster.find((member) => {
    const index = findEntry(list, member, 'member')?.index ?? -1;
    return certificates[index]?.id === id || toHex(member) === id.toLowerCase();
  });
  if (target) return target;
  throw new NotFoundError('meter-unknown', `${meter} is no member of the newest epoch: see "gridring epoch show"`);
}

function nameOf({ list, certificates }: Membership, target: Uint8Array): string {
  const index = list.entries.findIndex(({ certHash }) => equalBytes(certHash, target));
  return certificates[index]?.id ?? toHex(target);
}

function shownCommand(value: unknown): {
  readonly message: Uint8Array;
  readonly receipts: ReadonlyMap<string, Uint8Array>;
} {
  try {
    const { message, targets } = value as {
      readonly message: string;
      readonly targets: readonly { readonly certHash: string; readonly receipt?: string }[];
    };
    const receipts = targets.flatMap(({ certHash, receipt }) =>
      receipt === undefined ? [] : [[certHash, fromBase64Url(receipt)] as const],
    );
    return { message: fromBase64Url(message), receipts: new Map(receipts) };
  } catch (cause) {
    throw new MalformedError('message-malformed', 'the backend shows no command', cause);
  }
}
