/** What stores of commands have in common. */
import { equalBytes } from '../../crypto/bytes.js';
import { ConflictError, LimitError } from '../../crypto/errors.js';
import type { KeptCommand, WaitingCommand } from '../../things/command-store.js';

/** @returns false: it is known. @throws ConflictError `command-conflict` */
export function assertNumberIsFree(id: Uint8Array, known: Uint8Array): false {
  if (equalBytes(id, known)) return false;
  throw new ConflictError('command-conflict', 'another command of this operator has the same number');
}

/** @throws LimitError `commands-waiting` */
export function assertRoomForCommand(waiting: number, most: number): void {
  if (waiting < most) return;
  throw new LimitError('commands-waiting', `${waiting} commands of the group wait for members already`);
}

export const withoutAnswered = (
  { id, gid, message, targets }: KeptCommand,
  answered: readonly Uint8Array[],
): WaitingCommand => ({
  ...{ id, gid, message },
  targets: targets.filter((target) => !answered.some((meter) => equalBytes(meter, target))),
});
