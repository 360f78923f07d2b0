/** What a role tells its neighbours of, by DNS-SD (WoT Discovery §6.2): nothing where only this machine reaches it. */
import { isLoopback } from '../bindings/host.js';
import type { Configs } from '../config.js';

export interface Announcement {
  /** Of the instance, as people see it. */
  readonly name: string;
  /** Without the domain; each has its own, for who has it must be one. */
  readonly hostname: string;
  readonly scheme: 'http' | 'https' | 'coap';
  readonly type: 'Thing' | 'Directory';
  /** Of this machine, or a wildcard. */
  readonly address: string;
  readonly port: number;
}

type Place = Pick<Announcement, 'scheme' | 'type' | 'address' | 'port'>;

export function announcementsOf<Role extends keyof Configs>(
  role: Role,
  config: Configs[Role],
): readonly Announcement[] {
  return placesOf(role, config)
    .filter(({ address, port }) => !isLoopback(address) && port !== 0)
    .map(({ id, ...place }) => ({
      ...place,
      // Labels of the DNS have at most 63 bytes.
      name: `gridring ${role} ${id}`.slice(0, 63),
      hostname: `gridring-${role}-${id}`.slice(0, 63 - place.scheme.length - 1) + `-${place.scheme}`,
    }));
}

function placesOf(role: keyof Configs, config: Configs[keyof Configs]): readonly (Place & { readonly id: string })[] {
  if ('meters' in config) {
    return config.meters
      .filter(({ callable }) => callable)
      .map(({ id, listen }) => ({ id, ...thing(listen.scheme, listen.address, listen.port) }));
  }
  const { id, listen } = config;
  if ('coapPort' in listen) {
    const { address, coapPort, httpPort } = listen;
    return [thing('http', address, httpPort), thing('coap', address, coapPort)].map((place) => ({ id, ...place }));
  }
  const { coap } = 'directory' in config ? config.directory : {};
  const places: readonly Omit<Place, 'type'>[] = [
    { scheme: listen.tls ? 'https' : 'http', address: listen.address, port: listen.port },
    ...(coap ? [{ scheme: 'coap', ...coap } as const] : []),
  ];
  return places.map(({ scheme, address, port }) => ({ id, scheme, address, port, type: 'Directory' }));
}

const thing = (scheme: 'http' | 'coap', address: string, port: number): Place => ({
  ...{ scheme, address, port },
  type: 'Thing',
});
