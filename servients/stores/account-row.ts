import { fromHex } from '../../crypto/bytes.js';
import { ConflictError } from '../../crypto/errors.js';
import type { Account } from '../../things/stores.js';

/** An account as a row of either database. */
export interface AccountRow extends Omit<Account, 'roles' | 'meters' | 'certHashes' | 'disabled'> {
  readonly roles: string;
  readonly meters: string;
  readonly disabled: number;
  /** In hex, with commas; null for none. */
  readonly certHashes: string | null;
}

export const accountOfRow = ({ roles, meters, disabled, certHashes, ...rest }: AccountRow): Account => ({
  ...rest,
  roles: JSON.parse(roles) as readonly string[],
  meters: JSON.parse(meters) as readonly string[],
  certHashes: (certHashes?.split(',') ?? []).sort().map(fromHex),
  disabled: disabled !== 0,
});

export const accountExists = (): ConflictError =>
  new ConflictError('account-exists', 'there is an account of that subject of the issuer');
export const usernameTaken = (username: string): ConflictError =>
  new ConflictError('username-taken', `the user name ${username} is another account's`);
export const certificateEnrolled = (): ConflictError =>
  new ConflictError('certificate-enrolled', 'the certificate is enrolled with another account');
