/**
 * What must not be in a backup, and what must change when one is restored (docs/backup.md): no key of a session leaves a
 * meter, and nothing that was used once is used again.
 */
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { decodeSealingState, encodeSealingState } from '../../crypto/envelope/sealing.js';
import { restoredSealing, sealingWithoutKey } from '../../crypto/envelope/sealing-restored.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { memberWithoutKeys } from '../../crypto/ring/member-restored.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';
import { lastAttempt } from '../../things/agreement.js';
import type { Cell, Row } from './archive.js';

/** Rows of a table as they go into a backup. @throws MalformedError for a state that this version does not read */
export function withoutKeys(role: StoreRole, table: string, columns: readonly string[]): (row: Row) => Row {
  const change = role === 'meter' ? keyless[table] : undefined;
  const index = columns.indexOf('state');
  return change ? (row) => row.map((cell, i) => (i === index ? onBytes(cell, change) : cell)) : (row) => row;
}

const keyless: Readonly<Record<string, (state: Uint8Array) => Uint8Array>> = {
  member: (state) => encodeMemberState(memberWithoutKeys(decodeMemberState(state))),
  sealing: (state) => encodeSealingState(sealingWithoutKey(decodeSealingState(state))),
};

const onBytes = (cell: Cell, change: (bytes: Uint8Array) => Uint8Array): Cell =>
  cell instanceof Uint8Array ? change(cell) : cell;

/**
 * How many epochs a restored gateway passes over. It may have announced so many since the backup; and members accept
 * an epoch that is 1,024 above the last that they answered (protocol §5).
 */
const epochsPassedOver = 512;

/** Changes a restored database, before anything uses it. @throws MalformedError, ConflictError `clock-behind` */
export function startAnew(role: StoreRole, connection: DatabaseSyncInstance, nowS: number): void {
  switch (role) {
    case 'meter':
      rewrite(connection, 'member', (state) => encodeMemberState(memberWithoutKeys(decodeMemberState(state))));
      rewrite(connection, 'sealing', (state) => encodeSealingState(restoredSealing(decodeSealingState(state), nowS)));
      break;
    case 'gateway':
      // The last attempt that an epoch has: the next announcement is of the epoch above.
      connection.exec(`UPDATE announced SET epoch = epoch + ${epochsPassedOver}, attempt = ${lastAttempt}`);
      // What was accepted after the backup is gone: members send again what they still hold.
      connection.exec('UPDATE custodian SET name = randomblob(16)');
      break;
    case 'backend':
      // Events after the backup had positions that will be given again.
      connection.exec('UPDATE backend_state SET life = lower(hex(randomblob(6)))');
      // What was ended or used up since the backup would be good again.
      for (const table of ['issuer_item', 'issuer_key', 'login_link']) connection.exec(`DELETE FROM ${table}`);
      connection.exec('DELETE FROM enrolment WHERE request IS NULL');
      break;
    default:
      role satisfies never;
  }
}

function rewrite(
  connection: DatabaseSyncInstance,
  table: 'member' | 'sealing',
  change: (state: Uint8Array) => Uint8Array,
): void {
  const update = connection.prepare(`UPDATE ${table} SET state = ? WHERE state = ?`);
  const states = connection.prepare(`SELECT state FROM ${table}`).all() as readonly { readonly state: Uint8Array }[];
  for (const { state } of states) update.run(change(state), state);
}
