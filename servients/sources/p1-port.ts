/** The bytes of a P1 port: a serial device, a TCP port that passes one on, or a file of what came from one. */
import { execFile } from 'node:child_process';
import { closeSync, constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { ReadStream } from 'node:tty';
import { promisify } from 'node:util';
import { SetupError, UnavailableError } from '../../crypto/errors.js';

/** `tcp://host:port`, or the path of a device or file. */
export type P1Port = { readonly host: string; readonly port: number } | { readonly path: string };

/** Line settings: version 4 and later, or 2.2 and 3. */
export type SerialMode = '115200-8n1' | '9600-7e1';

const lineSettings: Readonly<Record<SerialMode, readonly string[]>> = {
  '115200-8n1': ['115200', 'cs8', '-parenb'],
  '9600-7e1': ['9600', 'cs7', 'parenb', '-parodd'],
};

/** A port that says nothing for so long is opened anew: the other side may be gone without a word. */
const idleMs = 60_000;

/** @throws SetupError `source-port-invalid` */
export function parsePort(text: string): P1Port {
  if (!text.startsWith('tcp://')) return { path: text };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const port = Number(url?.port);
  if (!url?.hostname || !(port > 0)) {
    throw new SetupError('source-port-invalid', `${text} is no address such as tcp://192.168.1.20:23`);
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

export const isFile = async (port: P1Port): Promise<boolean> =>
  'path' in port &&
  (await stat(port.path).then(
    (found) => found.isFile(),
    () => false,
  ));

/**
 * Opens the port and gives what comes, until it ends or the signal is aborted.
 * @throws UnavailableError `source-unreachable`
 */
export async function* openPort(
  port: P1Port,
  mode: SerialMode,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = 'path' in port ? await openPath(port.path, mode) : dial(port);
  const close = (): void => {
    stream.destroy();
  };
  signal.addEventListener('abort', close);
  try {
    if (!signal.aborted) for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (cause) {
    if (!signal.aborted) throw unreachable(port, cause);
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

function dial({ host, port }: { readonly host: string; readonly port: number }): Socket {
  const socket = connect({ host, port });
  return socket.setTimeout(idleMs, () => socket.destroy(new Error('it says nothing')));
}

async function openPath(path: string, mode: SerialMode): Promise<ReadStream | ReturnType<typeof createReadStream>> {
  try {
    if (!(await stat(path)).isCharacterDevice()) return createReadStream(path);
    await promisify(execFile)('stty', [
      '-F',
      path,
      ...lineSettings[mode],
      '-cstopb',
      'raw',
      '-echo',
      'clocal',
      'cread',
    ]);
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK);
    try {
      return new ReadStream(descriptor);
    } catch (cause) {
      closeSync(descriptor);
      throw cause;
    }
  } catch (cause) {
    throw unreachable({ path }, cause);
  }
}

const unreachable = (port: P1Port, cause: unknown): UnavailableError => {
  const name = 'path' in port ? port.path : `${port.host}:${port.port}`;
  return new UnavailableError('source-unreachable', `${name} cannot be read: ${String(cause)}`, cause);
};
