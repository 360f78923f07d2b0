import type { Principal } from '../auth/principal.js';
import { backendUrn, directoryUrn, type RestContext } from './context.js';
import { ownMeters, seesGroup } from './visible-meters.js';

/**
 * The ids of the Things that a caller may see in the directory; undefined for all. A household sees its own meters, the
 * backend, and the gateways of its groups.
 */
export function visibleThings(
  context: Pick<RestContext, 'backend' | 'identity'>,
  caller: Principal,
): readonly string[] | undefined {
  const own = ownMeters(caller, 'things:read');
  if (own === undefined) return undefined;
  const { backend } = context;
  const gateways = backend.memberships
    .filter(({ list }) => seesGroup(backend, caller, 'things:read', list.gid))
    .flatMap(({ certificates }) => certificates)
    .flatMap((certificate) => (certificate?.role === 'gateway' ? [`urn:gridring:gateway:${certificate.id}`] : []));
  return [...new Set([backendUrn(context), directoryUrn(context), ...gateways, ...own])];
}
