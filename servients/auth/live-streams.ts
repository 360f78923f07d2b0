/** Open event streams: each ends with its token, and when its holder may no longer do what it could when it began. */
import type { ServerResponse } from 'node:http';
import { VerificationError } from '../../crypto/errors.js';
import type { Principal } from './principal.js';
import type { Credential, Sessions } from './sessions.js';

interface Stream {
  readonly credential: Credential;
  readonly principal: Principal;
}

export class LiveStreams {
  readonly #sessions: Sessions;
  readonly #nowS: () => number;
  readonly #open = new Map<ServerResponse, Stream>();

  constructor(sessions: Sessions, nowS: () => number) {
    this.#sessions = sessions;
    this.#nowS = nowS;
  }

  /** Whoever may go on listening comes back with a new token and misses nothing. */
  hold(response: ServerResponse, stream: Stream): void {
    const leftMs = Math.max(0, stream.principal.expiresS - this.#nowS()) * 1000;
    const end = setTimeout(() => response.end(), leftMs).unref();
    this.#open.set(response, stream);
    response.once('close', () => {
      clearTimeout(end);
      this.#open.delete(response);
    });
  }

  /** Ends those whose holders were revoked, disabled or given other rights. @throws UnavailableError of the database */
  async recheck(): Promise<void> {
    for (const [response, stream] of this.#open) {
      if (!(await this.#isAsItWas(stream))) response.end();
    }
  }

  async #isAsItWas({ credential, principal }: Stream): Promise<boolean> {
    try {
      return rightsOf(await this.#sessions.principal(credential)) === rightsOf(principal);
    } catch (error) {
      if (error instanceof VerificationError) return false;
      throw error;
    }
  }
}

const rightsOf = (principal: Principal): string =>
  JSON.stringify([[...principal.scopes], principal.kind === 'person' && principal.account?.meters]);
