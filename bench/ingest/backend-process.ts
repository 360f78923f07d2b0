/** A backend as a process of its own, as `gridring backend` starts it, that tells its parent what it uses. */
import { pino } from 'pino';
import { suiteByName } from '../../crypto/suite-node.js';
import { runBackend } from '../../servients/backend.js';
import { readConfig } from '../../servients/config.js';
import { readCertificates, readIdentity } from '../../servients/identity-files.js';
import type { BackendMessage } from './backends.js';

const tell = (message: BackendMessage): void => {
  process.send?.(message);
};

const config = readConfig('backend', process.argv[2] ?? '');
const suite = suiteByName(config.suite);
const backend = await runBackend({
  identity: readIdentity(suite, config),
  suite,
  trustedRoots: readCertificates(suite, config.root, 'root certificate'),
  dataDir: config.dataDir,
  ...(config.database !== undefined && { database: config.database }),
  listen: { address: config.listen.address, port: config.listen.port },
  audience: config.audience,
  version: 'bench',
  log: pino({ level: 'silent' }),
  // All gateways of the measurement have one address.
  http: { limits: { requestsPerMinute: 10_000_000 } },
});
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  tell({ kind: 'usage', cpuUs: user + system, rssBytes: process.memoryUsage.rss() });
});
process.once('disconnect', () => void backend.close().then(() => process.exit(0)));
tell({ kind: 'ready', url: backend.url });
