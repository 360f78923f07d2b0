import { toHex } from '../../crypto/bytes.js';
import type { Account } from '../../things/stores.js';
import { isoTime } from './epoch-json.js';

/** As td/schemas/account.schema.json describes it. */
export const accountJson = (account: Account): object => ({
  id: account.id,
  issuer: account.issuer,
  subject: account.subject,
  name: account.name,
  roles: account.roles,
  meters: account.meters,
  certHashes: account.certHashes.map(toHex),
  disabled: account.disabled,
  ...(account.sessionsFromS > 0 && { sessionsFrom: isoTime(account.sessionsFromS) }),
  createdAt: isoTime(account.createdS),
  modifiedAt: isoTime(account.modifiedS),
});
