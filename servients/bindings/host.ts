/** How a server names its own host in Thing Descriptions. */
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';

/** The host of a URL for the address that is listened on; for a wildcard, the first that others can reach. */
export function hostOf(address: string): string {
  const named = address === '0.0.0.0' || address === '::' ? firstAddress(isIPv6(address)) : address;
  return isIPv6(named) ? `[${named}]` : named;
}

function firstAddress(ipv6: boolean): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.filter(({ internal, scopeid }) => !internal && (scopeid ?? 0) === 0);
  const preferred = outside.find(({ family }) => (family === 'IPv6') === ipv6) ?? outside[0];
  return preferred?.address ?? 'localhost';
}

/** An IP address that nobody else reaches. */
export const isLoopback = (address: string): boolean => /^(?:127\.|::1$|::ffff:127\.)/.test(address);
