/** What a gateway's property `round` shows: the coordinator's newest message of each group. It is read as untrusted input. */
import { fromBase64Url, fromHex } from '../crypto/bytes.js';
import { MalformedError } from '../crypto/errors.js';

export const roundTypes = ['announcement', 'roster', 'tokens', 'confirmations'] as const;
export type RoundType = (typeof roundTypes)[number];

export interface GroupRound {
  /** In hex. */
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly type: RoundType;
  readonly message: Uint8Array;
  /** The backend's word for the record of this epoch. */
  readonly endorsement?: Uint8Array;
  /** The list that the attempt is under, with its certificates. */
  readonly membership?: Uint8Array;
  /** Operators' commands to members that cannot be called. */
  readonly commands: readonly Uint8Array[];
}

/** More groups than a gateway shows are not looked at one by one. */
const maxGroups = 64;
const maxCommands = 128;

/** @throws MalformedError `round-malformed`; what the messages are is not looked at */
export function parseRounds(value: unknown): readonly GroupRound[] {
  try {
    const { groups } = value as { readonly groups: unknown };
    if (!Array.isArray(groups) || groups.length > maxGroups)
      throw new TypeError('no list of groups, or a very long one');
    return groups.map(parseGroup);
  } catch (cause) {
    throw new MalformedError('round-malformed', 'the gateway shows its rounds in no form that is known here', cause);
  }
}

function parseGroup(group: Readonly<Record<string, unknown>>): GroupRound {
  const { endorsement, membership, commands = [] } = group;
  if (!Array.isArray(commands) || commands.length > maxCommands) throw new TypeError('no list of commands');
  const type = roundTypes.find((known) => known === group['type']);
  if (type === undefined) throw new TypeError('a message of an unknown type');
  return {
    gid: gidOf(group['gid']),
    epoch: counterOf(group['epoch']),
    attempt: counterOf(group['attempt']),
    type,
    message: fromBase64Url(textOf(group['message'])),
    ...(endorsement !== undefined && { endorsement: fromBase64Url(textOf(endorsement)) }),
    ...(membership !== undefined && { membership: fromBase64Url(textOf(membership)) }),
    commands: commands.map((message) => fromBase64Url(textOf(message))),
  };
}

function gidOf(value: unknown): string {
  const text = textOf(value);
  if (fromHex(text).length !== 16) throw new TypeError('no group id');
  return text.toLowerCase();
}

function counterOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new TypeError('no counter');
  return value;
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('no text');
  return value;
}
