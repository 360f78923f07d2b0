/** Tells in time that a certificate is about to end: an event and a line in the log at thirty days, seven, one, and the end. */
import { GridringError } from '../crypto/errors.js';
import type { Suite } from '../crypto/suite.js';
import { readCertificates } from './identity-files.js';
import { codeOf, systemNowS, type Runtime } from './runtime.js';

const dayS = 86_400;
const warnAtDays = [0, 1, 7, 30] as const;
const intervalMs = 3_600_000;

/** The last of these that a certificate has come to, in days before its end; undefined where the end is far. */
const alarmAt = (endS: number, nowS: number): number | undefined =>
  warnAtDays.find((days) => endS - nowS <= days * dayS);

/** Once for each certificate and threshold; one that is renewed on disk begins anew. */
export class CertificateWatch {
  readonly #suite: Suite;
  readonly #files: readonly string[];
  readonly #runtime: Pick<Runtime, 'log' | 'emit'>;
  /** What was told of each file last. */
  readonly #told = new Map<string, number | undefined>();

  constructor(suite: Suite, files: readonly string[], runtime: Pick<Runtime, 'log' | 'emit'>) {
    this.#suite = suite;
    this.#files = files;
    this.#runtime = runtime;
  }

  /** Looks now and every hour. @returns what ends it */
  start(): () => void {
    this.look(systemNowS());
    const timer = setInterval(() => {
      this.look(systemNowS());
    }, intervalMs).unref();
    return () => {
      clearInterval(timer);
    };
  }

  look(nowS: number): void {
    for (const file of this.#files) {
      try {
        this.#lookAt(file, nowS);
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        this.#runtime.log.warn({ certificate: file, code: codeOf(error) }, 'a certificate cannot be read');
      }
    }
  }

  /** The first that ends of the leaf and the CAs above it ends them all. */
  #lookAt(file: string, nowS: number): void {
    const endS = Math.min(...readCertificates(this.#suite, file, 'certificate').map(({ notAfterS }) => notAfterS));
    const days = alarmAt(endS, nowS);
    if (days === this.#told.get(file)) return;
    this.#told.set(file, days);
    if (days === undefined) return;
    const ends = new Date(endS * 1_000).toISOString();
    this.#runtime.log.warn(
      { certificate: file, ends, days },
      'the certificate is about to end, or has ended: renew it',
    );
    this.#runtime.emit({ event: 'certificate-ends', certificate: file, ends, days });
  }
}
