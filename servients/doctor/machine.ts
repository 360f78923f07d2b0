/** What the machine gives: the version of Node, ports, room on the disk, a serial port. */
import { accessSync, constants, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { createSocket } from 'node:dgram';
import { dirname } from 'node:path';
import { roomIn, spaceIn } from '../operations/readiness.js';
import { failure, ok, warning, type Finding } from './finding.js';

const leastNode = [20, 19] as const;

export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isEnough = major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
  return isEnough
    ? ok('node', `Node.js ${version}`)
    : failure('node', `Node.js ${version}`, `install Node.js ${leastNode.join('.')} or newer`);
}

export interface CheckedPort {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
}

export async function checkPort({ protocol, address, port }: CheckedPort): Promise<Finding> {
  const name = `port ${port}/${protocol}`;
  try {
    await (protocol === 'tcp' ? listenTcp(address, port) : listenUdp(address, port));
    return ok(name, port === 0 ? 'any free one' : `free on ${address}`);
  } catch (error) {
    const { code = 'error' } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      return warning(
        name,
        `in use on ${address}`,
        'well, if that is the process itself; otherwise choose another port',
      );
    }
    if (code === 'EACCES') return failure(name, 'not allowed', 'choose a port above 1023');
    return failure(name, `${address} cannot be listened on (${code})`, 'name an address of this machine');
  }
}

const listenTcp = (address: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject).listen(port, address, () => {
      server.close(() => {
        resolve();
      });
    });
  });

const listenUdp = (address: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', reject).bind(port, address, () => {
      socket.close(resolve);
    });
  });

/** Of a data folder that is there, or of the nearest folder above it. */
export async function checkRoom(dataDir: string): Promise<Finding> {
  let folder = dataDir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  const name = `disk of ${dataDir}`;
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    return failure(
      name,
      `${folder} is not writable`,
      `let the user that runs the process write there: chown, or another dataDir`,
    );
  }
  const fault = await roomIn(folder);
  if (fault !== undefined) return failure(name, fault, 'make room, or move dataDir');
  const { freeBytes, sizeBytes } = await spaceIn(folder);
  return ok(name, `writable; ${Math.floor(freeBytes / 1e6)} of ${Math.floor(sizeBytes / 1e6)} MB are free`);
}

/** Of a source that reads a device. */
export function checkSerial(device: string): Finding {
  const name = `serial port ${device}`;
  if (!existsSync(device))
    return failure(name, 'is not there', 'plug the cable in; "ls /dev/serial/by-id" names what is');
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return ok(name, 'is there, and may be read');
  } catch {
    return failure(
      name,
      'may not be read',
      'add the user that runs the process to the group dialout, and log in again',
    );
  }
}
