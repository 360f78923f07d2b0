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
import { onlyRow, type Database, type Statement } from './database.js';

type CommandRow = Omit<KeptCommand, 'targets'> & { readonly targets: Uint8Array };

const columns = 'position, id, gid, operator, sequence, expires_s AS expiresS, taken_s AS takenS, targets, message';
const receiptColumns = `command_receipt.position AS position, id, gid, meter, received_s AS receivedS,
  command_receipt.message AS message`;
const receiptAndCommand = 'command_receipt JOIN command ON command.position = command_receipt.command';

/** In the database of a gateway or a backend. */
export class SqliteCommandStore implements CommandStore {
  readonly #database: Database;
  readonly #onCommit: () => void;
  readonly #sameNumber: Statement<
    [gid: Uint8Array, operator: Uint8Array, sequence: number],
    { readonly id: Uint8Array }
  >;
  readonly #waitingOfGroup: Statement<[gid: Uint8Array, nowS: number], { readonly count: number }>;
  readonly #forget: Statement<[beforeS: number]>;
  readonly #number: Statement<[], { readonly position: number }>;
  readonly #save: Statement<
    [
      position: number,
      id: Uint8Array,
      gid: Uint8Array,
      operator: Uint8Array,
      sequence: number,
      expiresS: number,
      takenS: number,
      targets: Uint8Array,
      message: Uint8Array,
      waiting: number,
    ]
  >;
  readonly #command: Statement<[id: Uint8Array], CommandRow>;
  readonly #commands: Statement<[gid: Uint8Array, beforePosition: number, limit: number], CommandRow>;
  readonly #waiting: Statement<[nowS: number], CommandRow>;
  readonly #answered: Statement<[position: number], { readonly meter: Uint8Array }>;
  readonly #receiptExists: Statement<[position: number, meter: Uint8Array], object>;
  readonly #numberReceipt: Statement<[], { readonly position: number }>;
  readonly #saveReceipt: Statement<
    [position: number, command: number, meter: Uint8Array, receivedS: number, message: Uint8Array]
  >;
  readonly #answer: Statement<[position: number]>;
  readonly #receipts: Statement<[id: Uint8Array], KeptCommandReceipt>;
  readonly #positions: Statement<[], CommandPositions>;
  readonly #commandsAfter: Statement<[position: number, limit: number], CommandRow>;
  readonly #receiptsAfter: Statement<[position: number, limit: number], KeptCommandReceipt>;

  constructor(database: Database, onCommit: () => void = () => undefined) {
    this.#database = database;
    this.#onCommit = onCommit;
    this.#sameNumber = database.prepare('SELECT id FROM command WHERE gid = ? AND operator = ? AND sequence = ?');
    this.#waitingOfGroup = database.prepare(
      'SELECT count(*) AS count FROM command WHERE gid = ? AND waiting > 0 AND expires_s >= ?',
    );
    this.#forget = database.prepare('DELETE FROM command WHERE expires_s < ?');
    this.#number = database.prepare('UPDATE command_state SET commands = commands + 1 RETURNING commands AS position');
    this.#save = database.prepare(
      `INSERT INTO command (position, id, gid, operator, sequence, expires_s, taken_s, targets, message, waiting)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#command = database.prepare(`SELECT ${columns} FROM command WHERE id = ?`);
    this.#commands = database.prepare(
      `SELECT ${columns} FROM command WHERE gid = ? AND position < ? ORDER BY position DESC LIMIT ?`,
    );
    this.#waiting = database.prepare(
      `SELECT ${columns} FROM command WHERE waiting > 0 AND expires_s >= ? ORDER BY position`,
    );
    this.#answered = database.prepare('SELECT meter FROM command_receipt WHERE command = ?');
    this.#receiptExists = database.prepare('SELECT 1 FROM command_receipt WHERE command = ? AND meter = ?');
    this.#numberReceipt = database.prepare(
      'UPDATE command_state SET receipts = receipts + 1 RETURNING receipts AS position',
    );
    this.#saveReceipt = database.prepare(
      'INSERT INTO command_receipt (position, command, meter, received_s, message) VALUES (?, ?, ?, ?, ?)',
    );
    this.#answer = database.prepare('UPDATE command SET waiting = waiting - 1 WHERE position = ?');
    this.#receipts = database.prepare(
      `SELECT ${receiptColumns} FROM ${receiptAndCommand} WHERE id = ? ORDER BY command_receipt.position`,
    );
    this.#positions = database.prepare('SELECT commands, receipts FROM command_state');
    this.#commandsAfter = database.prepare(
      `SELECT ${columns} FROM command WHERE position > ? ORDER BY position LIMIT ?`,
    );
    this.#receiptsAfter = database.prepare(
      `SELECT ${receiptColumns} FROM ${receiptAndCommand} WHERE command_receipt.position > ?
       ORDER BY command_receipt.position LIMIT ?`,
    );
  }

  async saveCommand(
    command: NewCommand,
    { waiting, forgetBeforeS }: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean> {
    const { id, gid, operator, sequence, expiresS, takenS, targets, message } = command;
    const fresh = this.#database.transaction(() => {
      const same = this.#sameNumber.get(gid, operator, sequence);
      if (same) return assertNumberIsFree(id, same.id);
      assertRoomForCommand(onlyRow(this.#waitingOfGroup.get(gid, takenS)).count, waiting);
      this.#forget.run(forgetBeforeS);
      const { position } = onlyRow(this.#number.get());
      const names = encode(targets);
      this.#save.run(position, id, gid, operator, sequence, expiresS, takenS, names, message, targets.length);
      return true;
    });
    if (fresh) this.#onCommit();
    return fresh;
  }

  async command(id: Uint8Array): Promise<KeptCommand | undefined> {
    const row = this.#database.read(() => this.#command.get(id));
    return row && keptCommand(row);
  }

  async commands(
    gid: Uint8Array,
    limit: number,
    beforePosition = Number.MAX_SAFE_INTEGER,
  ): Promise<readonly KeptCommand[]> {
    return this.#database.read(() => this.#commands.all(gid, beforePosition, limit)).map(keptCommand);
  }

  async waitingCommands(nowS: number): Promise<readonly WaitingCommand[]> {
    return this.#database.read(() =>
      this.#waiting.all(nowS).map((row) =>
        withoutAnswered(
          keptCommand(row),
          this.#answered.all(row.position).map(({ meter }) => meter),
        ),
      ),
    );
  }

  async saveCommandReceipt({ id, meter, receivedS, message }: NewCommandReceipt): Promise<boolean> {
    const fresh = this.#database.transaction(() => {
      const command = this.#command.get(id);
      if (!command || this.#receiptExists.get(command.position, meter)) return false;
      const { position } = onlyRow(this.#numberReceipt.get());
      this.#saveReceipt.run(position, command.position, meter, receivedS, message);
      this.#answer.run(command.position);
      return true;
    });
    if (fresh) this.#onCommit();
    return fresh;
  }

  async commandReceipts(id: Uint8Array): Promise<readonly KeptCommandReceipt[]> {
    return this.#database.read(() => this.#receipts.all(id));
  }

  async commandPositions(): Promise<CommandPositions> {
    return this.#database.read(() => onlyRow(this.#positions.get()));
  }

  async commandsAfter(position: number, limit: number): Promise<readonly KeptCommand[]> {
    return this.#database.read(() => this.#commandsAfter.all(position, limit)).map(keptCommand);
  }

  async commandReceiptsAfter(position: number, limit: number): Promise<readonly KeptCommandReceipt[]> {
    return this.#database.read(() => this.#receiptsAfter.all(position, limit));
  }
}

const keptCommand = (row: CommandRow): KeptCommand => ({
  ...row,
  targets: decodeStrict(row.targets, row.targets.length) as readonly Uint8Array[],
});
