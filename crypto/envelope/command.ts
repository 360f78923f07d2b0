/**
 * Commands of an operator (protocol §8): signed by the operator, sealed by HPKE to the key of an epoch, and numbered. What
 * a relay must check stands outside the seal; what is to be done only members of the epoch read.
 */
import { compareBytes, equalBytes } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { parseSign1, sign1, verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, MalformedError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { deriveKeyPair, hpkeOpen, hpkeSeal } from '../hpke.js';
import { limits } from '../limits.js';
import { assertListValid, certificateOf, findEntry, type Membership } from '../membership.js';
import type { KeyName } from '../ring/schedule.js';
import type { AgreementKey, Random, Signer, Suite } from '../suite.js';
import { encodeOperation, parseOperation, type Operation, type Unsupported } from './operation.js';

export interface CommandHeader {
  /** Of the key that it is sealed to. */
  readonly name: KeyName;
  /** certHash. */
  readonly operator: Uint8Array;
  /** Second of issue × 2^20, plus a counter: above every other of the operator, also after its file was lost. */
  readonly sequence: number;
  readonly expiresS: number;
  /** certHashes, ascending, none twice. */
  readonly targets: readonly Uint8Array[];
}

export interface Command extends CommandHeader {
  readonly enc: Uint8Array;
  readonly sealed: Uint8Array;
  /** H(command, payload): what receipts and relays name it by. */
  readonly id: Uint8Array;
}

const perSecond = 2 ** 20;
/** The last one whose second of issue is a time of this protocol. */
const maxSequence = Math.min(Number.MAX_SAFE_INTEGER, (uint32Max + 1) * perSecond - 1);

/** When a command of this sequence was issued, Unix seconds. */
export const issuedAtS = (sequence: number): number => Math.floor(sequence / perSecond);

/** To be on disk before it is used. `last` is the one before; 0 where none is known. */
export const nextSequence = (last: number, nowS: number): number => Math.max(last + 1, nowS * perSecond);

const headerItems = ({ name, operator, sequence, expiresS, targets }: CommandHeader): readonly CborItem[] => [
  name.gid,
  name.epoch,
  name.attempt,
  name.th2,
  operator,
  sequence,
  expiresS,
  targets,
];

/** The whole header: a sealed operation that is put under another one does not open. */
const sealInfo = (header: CommandHeader): Uint8Array => encode(['gridring1', 'command', ...headerItems(header)]);

const none = new Uint8Array(0);
const signatureContext = (gid: Uint8Array) => ({ type: 'command', context: gid });

export interface CommandOrder {
  readonly name: KeyName;
  /** pkG of the epoch, from its verified record. */
  readonly groupPublicKey: Uint8Array;
  readonly operator: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  readonly sequence: number;
  readonly expiresS: number;
  readonly targets: readonly Uint8Array[];
  readonly operation: Operation;
}

/** @throws VerificationError `key-invalid` */
export function makeCommand(suite: Suite, order: CommandOrder, random: Random): Uint8Array {
  const { operator, name } = order;
  const targets = [...order.targets].sort(compareBytes);
  const header: CommandHeader = { ...order, operator: operator.certHash, targets };
  const plaintext = encodeOperation(order.operation);
  const { enc, ciphertext } = hpkeSeal(suite, order.groupPublicKey, sealInfo(header), none, plaintext, random);
  const payload = encode([...headerItems(header), enc, ciphertext]);
  return sign1(suite, operator.signer, operator.kid, signatureContext(name.gid), payload);
}

/** Parses without verifying. @throws MalformedError */
export const parseCommand = (suite: Suite, bytes: Uint8Array): Command =>
  commandIn(suite, parseSign1(bytes, limits.command));

function commandIn(suite: Suite, { payload }: Sign1): Command {
  const what = 'command';
  const [gid, epoch, attempt, th2, operator, sequence, expiresS, targets, enc, sealed] = arrayOf(
    decodeStrict(payload, limits.command),
    what,
    10,
  );
  return {
    name: {
      gid: bytesOf(gid, what, 16),
      epoch: uintOf(epoch, what, uint32Max, 1),
      attempt: uintOf(attempt, what, 255, 1),
      th2: bytesOf(th2, what, 32),
    },
    operator: bytesOf(operator, what, 32),
    sequence: uintOf(sequence, what, maxSequence, 1),
    expiresS: uintOf(expiresS, what),
    targets: targetsOf(arrayOf(targets, what).map((target) => bytesOf(target, what, 32))),
    enc: bytesOf(enc, what, 32, 65),
    sealed: bytesOf(sealed, what),
    id: hash(suite, 'command', payload),
  };
}

function targetsOf(targets: readonly Uint8Array[]): readonly Uint8Array[] {
  const ascending = targets.every((target, i) => i === 0 || compareBytes(targets[i - 1] ?? target, target) < 0);
  if (ascending && targets.length >= 1 && targets.length <= limits.ringMembersHard) return targets;
  throw new MalformedError('message-malformed', 'the targets of a command: 1 to 64, ascending, none twice');
}

export interface CommandCheck {
  readonly suite: Suite;
  /** The newest list that is known. */
  readonly membership: Membership;
  readonly nowS: number;
}

/** Where receipts for a command are sealed to. */
export interface VerifiedCommand extends Command {
  readonly replyKey: Uint8Array;
}

/**
 * What anybody with the current list checks, and all that a relay can: an operator of the list signed it.
 * @throws MalformedError, ConflictError `wrong-group`, VerificationError `membership-expired`, `not-listed`,
 * `certificate-expired`, `wrong-signer`, `signature-invalid`, `operator-keyless`
 */
export function verifyCommand({ suite, membership, nowS }: CommandCheck, bytes: Uint8Array): VerifiedCommand {
  const message = parseSign1(bytes, limits.command);
  const command = commandIn(suite, message);
  const { list } = membership;
  if (!equalBytes(command.name.gid, list.gid)) throw new ConflictError('wrong-group', 'a command to another group');
  assertListValid(list, nowS);
  const operator = certificateOf(membership, command.operator, 'operator', nowS);
  if (!equalBytes(operator.kid, message.kid))
    throw new VerificationError('wrong-signer', 'a command of another signer');
  verifySign1(suite, operator.verifier, message, signatureContext(list.gid));
  const replyKey = findEntry(list, command.operator, 'operator')?.entry.hpkeKey;
  if (!replyKey) throw new VerificationError('operator-keyless', 'the list has no HPKE key of the operator');
  return { ...command, replyKey };
}

/**
 * Whether its time is over.
 * @throws ConflictError `command-early`; MalformedError when it lasts longer than any may
 */
export function isCommandOver({ sequence, expiresS }: CommandHeader, nowS: number): boolean {
  const issuedS = issuedAtS(sequence);
  if (expiresS < issuedS || expiresS - issuedS > limits.commandS) {
    throw new MalformedError('message-malformed', 'a command that ends before it begins, or lasts too long');
  }
  if (issuedS > nowS + limits.clockSkewS) throw new ConflictError('command-early', 'a command that is still to come');
  return nowS > expiresS + limits.clockSkewS;
}

/** The key of an epoch, as members hold it. */
export interface GroupSeed {
  readonly name: KeyName;
  readonly groupSeed: Uint8Array;
}

/**
 * What is to be done, for a member of the epoch; or why it never will be.
 * @throws ConflictError `epoch-unknown` where the key is to come; VerificationError `hpke-open-failed`; MalformedError
 */
export function openCommand(
  suite: Suite,
  keys: readonly GroupSeed[],
  command: Command,
): Operation | Unsupported | 'epoch-stale' {
  const { name, enc, sealed } = command;
  const key = keys.find(({ name: known }) => equalBytes(known.th2, name.th2));
  if (key) {
    return parseOperation(
      hpkeOpen(suite, deriveKeyPair(suite, key.groupSeed).key, enc, sealInfo(command), none, sealed),
    );
  }
  const { epoch, attempt } = name;
  const isOver = keys.some(({ name: at }) => at.epoch > epoch || (at.epoch === epoch && at.attempt >= attempt));
  if (isOver) return 'epoch-stale';
  throw new ConflictError('epoch-unknown', 'the command is sealed to a key that is not active here');
}

/** Why a command was not done, and never will be. */
export type CommandRefusal =
  | Unsupported
  /** A newer one of the operator was done, or this one so long ago that it is forgotten. */
  | 'command-overtaken'
  | 'command-expired'
  /** Sealed to a key that is no more. */
  | 'epoch-stale'
  /** The meter's state came from a backup, and may not know that this was done. */
  | 'restored-lately';

export interface Outcome {
  /** Null: done. */
  readonly code: CommandRefusal | null;
  readonly doneS: number;
}

export interface CommandReceipt {
  readonly gid: Uint8Array;
  readonly meter: Uint8Array;
  readonly operator: Uint8Array;
  readonly commandId: Uint8Array;
  readonly enc: Uint8Array;
  readonly sealed: Uint8Array;
}

type ReceiptHeader = Pick<CommandReceipt, 'gid' | 'meter' | 'operator' | 'commandId'>;

const receiptItems = ({ gid, meter, operator, commandId }: ReceiptHeader) => [gid, meter, operator, commandId] as const;
const receiptInfo = (header: ReceiptHeader): Uint8Array =>
  encode(['gridring1', 'commandReceipt', ...receiptItems(header)]);
const receiptContext = (gid: Uint8Array) => ({ type: 'commandReceipt', context: gid });

/** Signed by the meter, and sealed so that only the operator reads the outcome. */
export function makeCommandReceipt(
  suite: Suite,
  meter: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer },
  command: VerifiedCommand,
  { code, doneS }: Outcome,
  random: Random,
): Uint8Array {
  const { gid } = command.name;
  const header: ReceiptHeader = { gid, meter: meter.certHash, operator: command.operator, commandId: command.id };
  const { enc, ciphertext } = hpkeSeal(
    suite,
    command.replyKey,
    receiptInfo(header),
    none,
    encode([code, doneS]),
    random,
  );
  const payload = encode([...receiptItems(header), enc, ciphertext]);
  return sign1(suite, meter.signer, meter.kid, receiptContext(gid), payload);
}

/** Parses without verifying. @throws MalformedError */
export function parseCommandReceipt(bytes: Uint8Array): CommandReceipt {
  const what = 'receipt of a command';
  const { payload } = parseSign1(bytes, limits.commandReceipt);
  const [gid, meter, operator, commandId, enc, sealed] = arrayOf(decodeStrict(payload, limits.commandReceipt), what, 6);
  return {
    gid: bytesOf(gid, what, 16),
    meter: bytesOf(meter, what, 32),
    operator: bytesOf(operator, what, 32),
    commandId: bytesOf(commandId, what, 32),
    enc: bytesOf(enc, what, 32, 65),
    sealed: bytesOf(sealed, what),
  };
}

/**
 * That one of the command's targets signed it, for this command: all that a relay can tell.
 * @throws MalformedError, ConflictError `receipt-mismatch`, VerificationError `not-listed`, `certificate-expired`,
 * `wrong-signer`, `signature-invalid`
 */
export function verifyCommandReceipt(
  { suite, membership, nowS }: CommandCheck,
  command: Command,
  bytes: Uint8Array,
): CommandReceipt {
  const receipt = parseCommandReceipt(bytes);
  const isOfCommand =
    equalBytes(receipt.gid, command.name.gid) &&
    equalBytes(receipt.operator, command.operator) &&
    equalBytes(receipt.commandId, command.id) &&
    command.targets.some((target) => equalBytes(target, receipt.meter));
  if (!isOfCommand) throw new ConflictError('receipt-mismatch', 'a receipt of another command, or of no target of it');
  const message = parseSign1(bytes, limits.commandReceipt);
  const meter = certificateOf(membership, receipt.meter, 'member', nowS);
  if (!equalBytes(meter.kid, message.kid)) throw new VerificationError('wrong-signer', 'a receipt of another signer');
  verifySign1(suite, meter.verifier, message, receiptContext(receipt.gid));
  return receipt;
}

/** What the meter says, for the operator. @throws VerificationError `hpke-open-failed`; MalformedError */
export function openCommandReceipt(
  suite: Suite,
  replyKey: AgreementKey,
  receipt: CommandReceipt,
): { readonly code: string | null; readonly doneS: number } {
  const what = 'outcome of a command';
  const plaintext = hpkeOpen(suite, replyKey, receipt.enc, receiptInfo(receipt), none, receipt.sealed);
  const [code, doneS] = arrayOf(decodeStrict(plaintext, limits.operation), what, 2);
  if (code !== null && typeof code !== 'string') throw new MalformedError('message-malformed', `not a valid ${what}`);
  return { code, doneS: uintOf(doneS, what) };
}

/** What a relay has of a command's receipts so far. */
export const encodeCommandReceipts = (receipts: readonly Uint8Array[]): Uint8Array => encode(receipts);
