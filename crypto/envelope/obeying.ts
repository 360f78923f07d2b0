/**
 * How a meter obeys commands, as a pure step (protocol §8): each is done once, none that is older than one that was done,
 * and an identical one again gets the receipt that it got.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { MalformedError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf, nullOr, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Random, Signer } from '../suite.js';
import {
  isCommandOver,
  issuedAtS,
  makeCommandReceipt,
  openCommand,
  verifyCommand,
  type Command,
  type CommandCheck,
  type CommandRefusal,
  type GroupSeed,
} from './command.js';
import { readingIntervalS, type Operation, type Unsupported } from './operation.js';

/** What came of an operator in a group: the highest number, and the last commands, the newest first. */
interface Mark {
  readonly gid: Uint8Array;
  readonly operator: Uint8Array;
  readonly sequence: number;
  readonly done: readonly { readonly id: Uint8Array; readonly receipt: Uint8Array }[];
}

/** On disk before a command is answered, with what the command changed. */
export interface ObeyingState {
  /** The operator that was last heard first. */
  readonly marks: readonly Mark[];
  /** As an operator has set it; null: as configured. */
  readonly readingIntervalS: number | null;
}

export const newObeyingState: ObeyingState = { marks: [], readingIntervalS: null };

export interface ObeyingContext extends CommandCheck {
  readonly self: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  /** Active and previous. */
  readonly keys: readonly GroupSeed[];
  readonly random: Random;
  /** When the state came from a backup, Unix seconds: it does not say what was done before. */
  readonly restoredS?: number | undefined;
  /** Why this meter cannot do it; null where it can. */
  readonly unsupported: (operation: Operation) => Unsupported | null;
}

export interface ObeyingStep {
  readonly state: ObeyingState;
  readonly receipt: Uint8Array;
}

/**
 * Verifies a command, does it unless that is too late, and signs for what became of it. The state that is returned is the
 * one that was given where nothing has changed.
 * @throws MalformedError; VerificationError as `verifyCommand`, `not-a-target`, `hpke-open-failed`; ConflictError
 * `wrong-group`, `command-early`, `epoch-unknown`; each changes nothing, and the same command may come again
 */
export function obey(context: ObeyingContext, state: ObeyingState, bytes: Uint8Array): ObeyingStep {
  const { suite, self, nowS, random } = context;
  const command = verifyCommand(context, bytes);
  if (!command.targets.some((target) => equalBytes(target, self.certHash))) {
    throw new VerificationError('not-a-target', 'a command to others');
  }
  const mark = state.marks.find((each) => isOf(each, command.name.gid, command.operator));
  const known = mark?.done.find(({ id }) => equalBytes(id, command.id));
  if (known) return { state, receipt: known.receipt };
  const receiptOf = (code: CommandRefusal | null): Uint8Array =>
    makeCommandReceipt(suite, self, command, { code, doneS: nowS }, random);
  const { operator, sequence, name } = command;
  if (sequence <= (mark?.sequence ?? 0)) return { state, receipt: receiptOf('command-overtaken') };
  const operation = operationOf(context, command);
  const receipt = receiptOf(typeof operation === 'string' ? operation : null);
  const done = [{ id: command.id, receipt }, ...(mark?.done ?? [])].slice(0, limits.commandsRemembered);
  const marks = [{ gid: name.gid, operator, sequence, done }, ...state.marks.filter((each) => each !== mark)];
  const effect = typeof operation === 'string' ? {} : effectOf(operation);
  return { state: { ...state, ...effect, marks: bounded(marks) }, receipt };
}

/** What is to be done, or why it is not. */
function operationOf(context: ObeyingContext, command: Command): Operation | CommandRefusal {
  const { suite, keys, nowS, restoredS = -Infinity, unsupported } = context;
  if (isCommandOver(command, nowS)) return 'command-expired';
  if (issuedAtS(command.sequence) <= restoredS + limits.clockSkewS) return 'restored-lately';
  const operation = openCommand(suite, keys, command);
  return typeof operation === 'string' ? operation : (unsupported(operation) ?? operation);
}

/** A number is kept for ever, and what was answered only of the operators that were last heard. */
const bounded = (marks: readonly Mark[]): readonly Mark[] =>
  marks.map((mark, i) => (i < limits.operatorsRemembered || mark.done.length === 0 ? mark : { ...mark, done: [] }));

function effectOf(operation: Operation): Partial<ObeyingState> {
  switch (operation.name) {
    case 'ping':
      return {};
    case 'set-reading-interval':
      return { readingIntervalS: operation.intervalS };
    default:
      return operation satisfies never;
  }
}

const isOf = (mark: Mark, gid: Uint8Array, operator: Uint8Array): boolean =>
  equalBytes(mark.gid, gid) && equalBytes(mark.operator, operator);

const formatVersion = 1;
const what = 'stored commands';

export const encodeObeyingState = ({ marks, readingIntervalS: intervalS }: ObeyingState): Uint8Array =>
  encode([
    formatVersion,
    marks.map(({ gid, operator, sequence, done }) => [
      gid,
      operator,
      sequence,
      done.map(({ id, receipt }) => [id, receipt]),
    ]),
    intervalS,
  ]);

/** @throws MalformedError when the bytes are not a state of this version */
export function decodeObeyingState(bytes: Uint8Array): ObeyingState {
  const [version, marks, intervalS] = arrayOf(decodeStrict(bytes, limits.obeyingState), what, 3);
  if (version !== formatVersion) throw new MalformedError('state-version', 'stored commands of another version');
  return {
    marks: arrayOf(marks, what).map(markOf),
    readingIntervalS: nullOr(intervalS, (item) => uintOf(item, what, readingIntervalS.max, readingIntervalS.min)),
  };
}

function markOf(item: CborItem): Mark {
  const [gid, operator, sequence, done] = arrayOf(item, what, 4);
  return {
    gid: bytesOf(gid, what, 16),
    operator: bytesOf(operator, what, 32),
    sequence: uintOf(sequence, what, Number.MAX_SAFE_INTEGER),
    done: arrayOf(done, what).map((entry) => {
      const [id, receipt] = arrayOf(entry, what, 2);
      return { id: bytesOf(id, what, 32), receipt: bytesOf(receipt, what) };
    }),
  };
}
