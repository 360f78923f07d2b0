/** What the audit log says of an account's name and rights. */
import type { AuditDetails } from '../../crypto/audit/entry.js';
import { limits } from '../../crypto/limits.js';
import type { Account } from '../../things/stores.js';

type Rights = Pick<Account, 'name' | 'roles' | 'meters' | 'disabled'>;

/**
 * Each in a detail of its own, and meters in as many as they take (`meters`, `meters2`, …): an entry cuts its texts, and
 * nobody is to hide a role behind a long name, or a meter behind others.
 */
export const rightsDetails = ({ name, roles, meters, disabled }: Partial<Rights>): AuditDetails => ({
  ...(name !== undefined && { name }),
  ...(roles && { roles: roles.join(' ') }),
  ...(disabled !== undefined && { disabled }),
  ...(meters && Object.fromEntries(linesOf(meters).map((line, i) => [`meters${i === 0 ? '' : i + 1}`, line]))),
});

/** Ids in lines that no entry cuts; of none, one that is empty. */
function linesOf(meters: readonly string[]): readonly string[] {
  const lines = [''];
  for (const id of meters.map((urn) => urn.replace('urn:gridring:meter:', ''))) {
    const last = lines.at(-1) ?? '';
    if (last === '') lines[lines.length - 1] = id;
    else if (last.length + 1 + id.length <= limits.auditText) lines[lines.length - 1] = `${last} ${id}`;
    else lines.push(id);
  }
  return lines;
}
