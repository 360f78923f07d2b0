/** A port for those who operate a process: is it alive, is it ready, what has it counted. Plain HTTP, on loopback by default. */
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { SetupError } from '../../crypto/errors.js';
import { makeHttpApp } from '../bindings/http-app.js';
import type { OperationsConfig } from '../config.js';
import { sleep } from '../runtime.js';
import { Metrics } from './metrics.js';
import { Readiness } from './readiness.js';

interface OperationsParts {
  readonly role: string;
  readonly version: string;
  readonly log: FastifyBaseLogger;
  readonly listen: OperationsConfig;
}

export class Operations {
  readonly metrics: Metrics;
  readonly readiness = new Readiness();
  readonly #app: FastifyInstance;
  readonly #listen: OperationsConfig;

  private constructor({ role, version, log, listen }: OperationsParts) {
    this.metrics = new Metrics(role, version);
    this.#listen = listen;
    this.#app = makeHttpApp({ log, limits: { connections: 32, requestsPerMinute: 600 } });
    void this.#app.register(async (scope) => {
      scope.get('/health/live', async () => ({ status: 'ok' }));
      scope.get('/health/ready', async (_request, reply) => {
        const { ready, checks } = await this.readiness.read();
        return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'unavailable', checks });
      });
      scope.get('/metrics', async (_request, reply) =>
        reply.type(this.metrics.contentType).send(await this.metrics.text()),
      );
    });
  }

  /** Listens before the role starts: it is alive then, and not ready. @throws SetupError `operations-port` */
  static async open(parts: OperationsParts): Promise<Operations> {
    const operations = new Operations(parts);
    const { address, port } = parts.listen;
    try {
      await operations.#app.listen({ host: address, port });
    } catch (cause) {
      await operations.#app.close();
      const message = `operations cannot listen on ${address} port ${port}: choose another (operations.port)`;
      throw new SetupError('operations-port', message, cause);
    }
    return operations;
  }

  /** The port that it listens on. */
  get port(): number {
    const bound = this.#app.server.address();
    return bound === null || typeof bound === 'string' ? this.#listen.port : bound.port;
  }

  /** Says that the process is about to stop, and gives those who balance load the time to see it. */
  async leave(): Promise<void> {
    this.readiness.drain();
    await sleep(this.#listen.leaveMs, AbortSignal.any([]));
  }

  async close(): Promise<void> {
    await this.#app.close();
  }
}
