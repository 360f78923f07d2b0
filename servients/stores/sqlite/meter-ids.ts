import { onlyRow, type Database } from './database.js';

/** Short numbers instead of the 32 bytes of a certHash in every row. Within a transaction of the caller. */
export function meterIds(database: Database): (certHash: Uint8Array) => number {
  const find = database.prepare<[certHash: Uint8Array], { readonly id: number }>(
    'SELECT id FROM meter WHERE cert_hash = ?',
  );
  const add = database.prepare<[certHash: Uint8Array], { readonly id: number }>(
    'INSERT INTO meter (cert_hash) VALUES (?) RETURNING id',
  );
  return (certHash) => onlyRow(find.get(certHash) ?? add.get(certHash)).id;
}
