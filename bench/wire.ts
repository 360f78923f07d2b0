/** Counts what really passes the sockets: every UDP datagram that a socket of this process receives. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { RemoteInfo, Socket } from 'node:dgram';

/** Bytes are UDP payloads, that is CoAP with its headers; IP and UDP add 28 bytes to each datagram over IPv4. */
export interface Traffic {
  readonly datagrams: number;
  readonly toMembersBytes: number;
  readonly fromMembersBytes: number;
}

export class WireCounter {
  readonly #memberPorts = new Set<number>();
  #traffic: Traffic = { datagrams: 0, toMembersBytes: 0, fromMembersBytes: 0 };

  /** Counts at every socket that is made from now on. */
  constructor() {
    subscribe('udp.socket', this.#listen);
  }

  /** Says on which port a member listens. */
  add(memberPort: number): void {
    this.#memberPorts.add(memberPort);
  }

  /** What has passed since the last call. */
  take(): Traffic {
    const taken = this.#traffic;
    this.#traffic = { datagrams: 0, toMembersBytes: 0, fromMembersBytes: 0 };
    return taken;
  }

  /** No socket that is made from now on is counted at. */
  stop(): void {
    unsubscribe('udp.socket', this.#listen);
  }

  readonly #listen = (message: unknown): void => {
    const { socket } = message as { readonly socket: Socket };
    socket.on('message', (datagram: Uint8Array, { port }: RemoteInfo) => {
      this.#count(datagram.length, socket.address().port, port);
    });
  };

  #count(bytes: number, receiver: number, sender: number): void {
    const { datagrams, toMembersBytes, fromMembersBytes } = this.#traffic;
    const toMember = this.#memberPorts.has(receiver);
    const fromMember = this.#memberPorts.has(sender);
    if (!toMember && !fromMember) return;
    this.#traffic = {
      datagrams: datagrams + 1,
      toMembersBytes: toMembersBytes + (toMember ? bytes : 0),
      fromMembersBytes: fromMembersBytes + (fromMember ? bytes : 0),
    };
  }
}
