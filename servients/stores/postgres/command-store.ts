import { decodeStrict, encode } from '../../../crypto/cbor.js';
import type {
  CommandPositions,
  CommandStore,
  KeptCommand,
  KeptCommandReceipt,
  NewCommand,
  NewCommandReceipt,
  WaitingCommand,
} from '../../../things/command-store.js';
import { assertNumberIsFree, assertRoomForCommand, withoutAnswered } from '../commands.js';
import { onlyRow, type Database, type Session } from './database.js';
import { wakeAll } from './events.js';
import { lock } from './locks.js';

type CommandRow = Omit<KeptCommand, 'targets'> & { readonly targets: Uint8Array };

const columns = 'position, id, gid, operator, sequence, expires_s AS "expiresS", taken_s AS "takenS", targets, message';
const receiptColumns = `command_receipt.position AS position, id, gid, meter, received_s AS "receivedS",
  command_receipt.message AS message`;
const receiptAndCommand = 'command_receipt JOIN command ON command.position = command_receipt.command';

export class PostgresCommandStore implements CommandStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  saveCommand(
    command: NewCommand,
    { waiting, forgetBeforeS }: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean> {
    const { id, gid, operator, sequence, expiresS, takenS, targets, message } = command;
    return this.#database.transaction(async (session) => {
      await lock(session, 'commands');
      const [same] = await session.rows<{ readonly id: Uint8Array }>(
        'SELECT id FROM command WHERE gid = $1 AND operator = $2 AND sequence = $3::bigint',
        [gid, operator, sequence],
      );
      if (same) return assertNumberIsFree(id, same.id);
      const { count } = onlyRow(
        await session.rows<{ readonly count: number }>(
          'SELECT count(*) AS count FROM command WHERE gid = $1 AND waiting > 0 AND expires_s >= $2::bigint',
          [gid, takenS],
        ),
      );
      assertRoomForCommand(count, waiting);
      await session.run('DELETE FROM command WHERE expires_s < $1::bigint', [forgetBeforeS]);
      await session.run(
        `INSERT INTO command (position, id, gid, operator, sequence, expires_s, taken_s, targets, message, waiting)
         VALUES ($1::bigint, $2, $3, $4, $5::bigint, $6::bigint, $7::bigint, $8, $9, $10::integer)`,
        [
          await nextPosition(session, 'commands'),
          ...[id, gid, operator, sequence, expiresS, takenS, encode(targets), message, targets.length],
        ],
      );
      await wakeAll(session);
      return true;
    });
  }

  async command(id: Uint8Array): Promise<KeptCommand | undefined> {
    const [row] = await this.#database.rows<CommandRow>(`SELECT ${columns} FROM command WHERE id = $1`, [id]);
    return row && keptCommand(row);
  }

  async commands(
    gid: Uint8Array,
    limit: number,
    beforePosition = Number.MAX_SAFE_INTEGER,
  ): Promise<readonly KeptCommand[]> {
    const rows = await this.#database.rows<CommandRow>(
      `SELECT ${columns} FROM command WHERE gid = $1 AND position < $2::bigint ORDER BY position DESC LIMIT $3::bigint`,
      [gid, beforePosition, limit],
    );
    return rows.map(keptCommand);
  }

  async waitingCommands(nowS: number): Promise<readonly WaitingCommand[]> {
    const rows = await this.#database.rows<CommandRow & { readonly answered: readonly Uint8Array[] }>(
      `SELECT ${columns}, ARRAY(SELECT meter FROM command_receipt WHERE command = command.position) AS answered
       FROM command WHERE waiting > 0 AND expires_s >= $1::bigint ORDER BY position`,
      [nowS],
    );
    return rows.map((row) => withoutAnswered(keptCommand(row), row.answered));
  }

  saveCommandReceipt({ id, meter, receivedS, message }: NewCommandReceipt): Promise<boolean> {
    return this.#database.transaction(async (session) => {
      await lock(session, 'commands');
      const [command] = await session.rows<{ readonly position: number }>(
        `SELECT position FROM command WHERE id = $1 AND NOT EXISTS
           (SELECT 1 FROM command_receipt WHERE command = command.position AND meter = $2)`,
        [id, meter],
      );
      if (!command) return false;
      await session.run(
        `INSERT INTO command_receipt (position, command, meter, received_s, message)
         VALUES ($1::bigint, $2::bigint, $3, $4::bigint, $5)`,
        [await nextPosition(session, 'receipts'), command.position, meter, receivedS, message],
      );
      await session.run('UPDATE command SET waiting = waiting - 1 WHERE position = $1::bigint', [command.position]);
      await wakeAll(session);
      return true;
    });
  }

  commandReceipts(id: Uint8Array): Promise<readonly KeptCommandReceipt[]> {
    return this.#database.rows(
      `SELECT ${receiptColumns} FROM ${receiptAndCommand} WHERE id = $1 ORDER BY command_receipt.position`,
      [id],
    );
  }

  async commandPositions(): Promise<CommandPositions> {
    return onlyRow(await this.#database.rows<CommandPositions>('SELECT commands, receipts FROM command_state'));
  }

  async commandsAfter(position: number, limit: number): Promise<readonly KeptCommand[]> {
    const rows = await this.#database.rows<CommandRow>(
      `SELECT ${columns} FROM command WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint`,
      [position, limit],
    );
    return rows.map(keptCommand);
  }

  commandReceiptsAfter(position: number, limit: number): Promise<readonly KeptCommandReceipt[]> {
    return this.#database.rows(
      `SELECT ${receiptColumns} FROM ${receiptAndCommand} WHERE command_receipt.position > $1::bigint
       ORDER BY command_receipt.position LIMIT $2::bigint`,
      [position, limit],
    );
  }
}

/** Under the lock `commands`, so that positions are those of the commits, without a hole. */
async function nextPosition(session: Session, of: 'commands' | 'receipts'): Promise<number> {
  const { position } = onlyRow(
    await session.rows<{ readonly position: number }>(
      `UPDATE command_state SET ${of} = ${of} + 1 RETURNING ${of} AS position`,
    ),
  );
  return position;
}

const keptCommand = (row: CommandRow): KeptCommand => ({
  position: row.position,
  id: row.id,
  gid: row.gid,
  operator: row.operator,
  sequence: row.sequence,
  expiresS: row.expiresS,
  takenS: row.takenS,
  targets: decodeStrict(row.targets, row.targets.length) as readonly Uint8Array[],
  message: row.message,
});
