/** HTTP as an adversary speaks it: bytes on a TCP socket. */
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';

export async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Writes the parts and returns all that came back until the server closed the connection. */
export async function exchange(port: number, ...parts: readonly (string | Uint8Array)[]): Promise<string> {
  const socket = await open(port);
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const closed = new Promise<void>((resolve) => {
    socket.once('end', () => {
      socket.destroy();
    });
    socket.once('close', () => {
      resolve();
    });
  });
  for (const part of parts) socket.write(part);
  await closed;
  return Buffer.concat(received).toString('latin1');
}

/** Resolves with what has arrived as soon as it contains `text`. */
export async function until(socket: Socket, text: string): Promise<string> {
  let received = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    received += (chunk as Buffer).toString('latin1');
    if (received.includes(text)) return received;
  }
  throw new Error(`the connection ended without ${JSON.stringify(text)}: ${JSON.stringify(received)}`);
}

export const statusOf = (response: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(response)?.[1]);

export const bodyOf = (response: string): unknown => JSON.parse(response.slice(response.indexOf('\r\n\r\n') + 4));
