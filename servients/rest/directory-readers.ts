/** Who reads the directory, and what of it. */
import type { FastifyRequest } from 'fastify';
import type { RestContext } from './context.js';
import { visibleThings } from './visible-things.js';

interface DirectoryReaders {
  readonly onRequest: (request: FastifyRequest) => Promise<void>;
  /** The ids of the Things that the caller may see; undefined for who sees all. */
  readonly seenBy: (request: FastifyRequest) => readonly string[] | undefined;
}

export const directoryReaders = (context: RestContext): DirectoryReaders => ({
  onRequest: context.access.needsUnlessOpen('things:read', context.directoryIsOpen),
  seenBy: (request) => {
    const caller = context.access.callerOf(request);
    return caller && visibleThings(context, caller);
  },
});
