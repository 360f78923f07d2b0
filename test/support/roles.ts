/** The folder of a role as its configuration describes it: identity, root, data folder, of members in memory. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { toPem } from '../../crypto/certificate/pem.js';
import { openDataFolder } from '../../servients/data-folder.js';
import { writeIdentity, writePublic } from '../../servients/identity-files.js';
import type { StoreRole } from '../../servients/stores/sqlite/migrate.js';
import { at } from './forge.js';
import type { Neighbourhood, Principal } from './neighbourhood.js';

export interface RoleFolder {
  readonly config: string;
  readonly database: string;
}

/** Writes the files, and opens and closes the data folder as the role does. */
export function makeRole(n: Neighbourhood, role: StoreRole, folder: string): RoleFolder {
  const principal = { backend: n.backend, gateway: n.gateway, meter: at(n.meters, 0) }[role];
  const own = { certificate: 'own/certificate.pem', key: 'own/key.pem', dataDir: 'own/data' };
  mkdirSync(folder, { recursive: true });
  writePublic(join(folder, 'trusted.pem'), toPem(n.root.der));
  write(n, principal, folder);
  const common = { suite: n.suite.name, root: 'trusted.pem' };
  const { id } = principal.certificate;
  const configs = {
    backend: { id, ...common, ...own, audience: 'test' },
    gateway: {
      id,
      ...common,
      ...own,
      membership: 'list.cbor',
      backend: { url: 'http://127.0.0.1:1', audience: 'test' },
    },
    meter: { ...common, gateway: { td: 'coap://127.0.0.1:1/td' }, meters: [{ id, ...own, source: { kind: 'csv' } }] },
  };
  if (role === 'gateway') writePublic(join(folder, 'list.cbor'), n.bundle(n.list()));
  writePublic(join(folder, 'role.json'), JSON.stringify(configs[role]));
  const data = openDataFolder(join(folder, 'own/data'), role, n.suite.name);
  data.close();
  return { config: join(folder, 'role.json'), database: data.databasePath };
}

function write(n: Neighbourhood, { certificate, secret }: Principal, folder: string): void {
  const files = { certificate: join(folder, 'own/certificate.pem'), key: join(folder, 'own/key.pem') };
  writeIdentity(n.suite, files, { chain: [certificate.der, at(n.certificates, 0)], secret });
}
