/** Announces services by multicast DNS (RFC 6762, 6763), as WoT Discovery §6.2 names them. */
import { isIPv4 } from 'node:net';
import type { Protocol, Responder, ServiceOptions } from '@homebridge/ciao';
import type { Log } from '../../things/parts.js';
import type { Announcement } from './announcements.js';

/**
 * Begins to announce, for as long as it takes behind the caller's back; what goes wrong is logged, for nothing needs it.
 * @returns what says goodbye and ends it
 */
export async function announce(announcements: readonly Announcement[], log: Log): Promise<() => Promise<void>> {
  if (announcements.length === 0) {
    log.info({}, 'nothing is announced: only this machine reaches it');
    return async () => undefined;
  }
  // Loaded only where it is used: it looks through all interfaces, and changes how stack traces are printed.
  const { default: ciao } = await import('@homebridge/ciao');
  const responder = ciao.getResponder({ advertiseIpv6: true });
  for (const announcement of announcements) {
    const service = responder.createService(serviceOf(announcement));
    service.on('name-change', (name) => {
      log.info({ name }, 'another has the name under which this was announced; it is announced under a new one');
    });
    service.on('hostname-change', () => undefined);
    service.advertise().then(
      () => {
        log.info({ name: service.getFQDN(), port: announcement.port }, 'announced');
      },
      (error: unknown) => {
        log.warn({ name: service.getFQDN(), err: error }, 'a service could not be announced');
      },
    );
  }
  return () => leave(responder, log);
}

function serviceOf({ name, hostname, scheme, type, address, port }: Announcement): ServiceOptions {
  const isEverywhere = address === '0.0.0.0' || address === '::';
  return {
    ...{ name, hostname, port, type: 'wot' },
    // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- a constant enum of another module
    protocol: (scheme === 'coap' ? 'udp' : 'tcp') as Protocol,
    ...(type === 'Directory' && { subtypes: ['directory'] }),
    txt: { td: '/.well-known/wot', type, scheme },
    ...(isEverywhere ? { disabledIpv6: isIPv4(address) } : { restrictedAddresses: [address] }),
  };
}

async function leave(responder: Responder, log: Log): Promise<void> {
  try {
    await responder.shutdown();
  } catch (error) {
    log.warn({ err: error }, 'no goodbye could be said to who heard the announcements');
  }
}
