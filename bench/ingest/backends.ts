/** Backend processes of a deployment: their files, their start, and what they use. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseCertificate } from '../../crypto/certificate.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { BackendClient } from '../../servients/backend-client.js';
import { writeIdentity, writePublic } from '../../servients/identity-files.js';
import { fetchAs } from '../../servients/issuer-client.js';
import { nowS, type Deployment } from '../deployment.js';

export const audience = 'bench';

export type BackendMessage = { readonly kind: 'ready'; readonly url: string } | ({ readonly kind: 'usage' } & Usage);

export interface Usage {
  /** User and system time of all threads since the start. */
  readonly cpuUs: number;
  readonly rssBytes: number;
}

export interface BackendProcess {
  readonly url: string;
  usage(): Promise<Usage>;
  stop(): Promise<void>;
}

/** Writes the files of a backend into a folder. @returns its configuration file */
export function writeBackend({ suite, root, backend }: Deployment, folder: string, database: object): string {
  const identity = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  writeIdentity(suite, identity, { chain: backend.certificates, secret: backend.secret });
  writePublic(join(folder, 'root.pem'), toPem(root.der));
  const config = join(folder, 'config.json');
  const files = { certificate: 'certificate.pem', key: 'key.pem', root: 'root.pem' };
  const listen = { address: '127.0.0.1', port: 0 };
  writePublic(config, JSON.stringify({ id: 'backend', suite: suite.name, ...files, listen, audience, ...database }));
  return config;
}

/** Of the gateway, to a backend. */
export function gatewayClient({ suite, root, gateway }: Deployment, url: string): BackendClient {
  const { certificates, secret } = gateway;
  const [certificate] = certificates.map((der) => parseCertificate(suite, der));
  if (certificate?.role !== 'gateway') throw new TypeError('the gateway has no certificate');
  const send = fetchAs({ suite, secret, certificate, certificates }, audience, [root.der], nowS);
  return new BackendClient({ suite, trustedRoots: [root], url, fetch: send });
}

/** Compiled code only: a process has no transpiler. */
const program = fileURLToPath(new URL('./backend-process.js', import.meta.url));

export async function startBackend(config: string): Promise<BackendProcess> {
  const child = fork(program, [config]);
  const { url } = await next(child, 'ready');
  return {
    url,
    usage: () => {
      const usage = next(child, 'usage');
      child.send('usage');
      return usage;
    },
    stop: async () => {
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}

/** The child's next message of a kind. @throws Error when it ends before */
function next<Kind extends BackendMessage['kind']>(
  child: ChildProcess,
  kind: Kind,
): Promise<Extract<BackendMessage, { readonly kind: Kind }>> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null): void => {
      reject(new Error(`a backend ended with code ${String(code)}`));
    };
    const heard = (message: BackendMessage): void => {
      if (message.kind !== kind) return;
      child.off('message', heard);
      child.off('exit', ended);
      resolve(message as Extract<BackendMessage, { readonly kind: Kind }>);
    };
    child.on('message', heard);
    child.once('exit', ended);
  });
}
