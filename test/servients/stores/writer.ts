/**
 * A process that writes to a store until it is killed: after each commit, and not before, it says how many items the
 * store has. Arguments: role, path of the database.
 */
import { writeSync } from 'node:fs';
import { GridringError } from '../../../crypto/errors.js';
import { itemsPerCommit, openWriter, type WriterRole } from './writers.js';

const [role = '', path = ''] = process.argv.slice(2);
const writer = openWriter[role as WriterRole](path);
try {
  for (let count = await writer.count(); ; count += itemsPerCommit) {
    await writer.write(count);
    writeSync(1, `${count + itemsPerCommit}\n`);
  }
} catch (error) {
  writeSync(1, `${error instanceof GridringError ? error.code : String(error)}\n`);
}
