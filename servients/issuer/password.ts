/** Passwords: scrypt (RFC 7914), its parameters stored beside the hash, so few at a time that a stampede starves nobody. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { UnavailableError } from '../../crypto/errors.js';

export interface ScryptCost {
  /** Binary logarithm of N. */
  readonly log2N: number;
  readonly r: number;
  readonly p: number;
}

/** One of those that OWASP's Password Storage Cheat Sheet names: 32 MB each. */
const defaultCost: ScryptCost = { log2N: 15, r: 8, p: 3 };

const hashBytes = 32;
/** Half of libuv's threads: the others are for files, the database and signatures. */
const atOnce = 2;
const waitingMaximum = 256;

export class Passwords {
  readonly #cost: ScryptCost;
  /** That nobody has: as much work for an unknown user as for a known one. */
  readonly #decoy: string;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(cost = defaultCost) {
    this.#cost = cost;
    this.#decoy = encode(cost, randomBytes(16), randomBytes(hashBytes));
  }

  /** @throws UnavailableError `logins-busy` */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(16);
    return encode(this.#cost, salt, await this.#derive(password, salt, this.#cost));
  }

  /** `stored` is undefined for a user that is unknown, or has no password yet. @throws UnavailableError `logins-busy` */
  async matches(password: string, stored: string | undefined): Promise<boolean> {
    const { cost, salt, hash } = decode(stored ?? this.#decoy);
    const isEqual = timingSafeEqual(await this.#derive(password, salt, cost), hash);
    return isEqual && stored !== undefined;
  }

  async #derive(password: string, salt: Uint8Array, { log2N, r, p }: ScryptCost): Promise<Uint8Array> {
    await this.#turn();
    try {
      return await new Promise((resolve, reject) => {
        const N = 2 ** log2N;
        const options = { N, r, p, maxmem: 256 * N * r };
        scrypt(password.normalize('NFKC'), salt, hashBytes, options, (error, key) => {
          if (error) reject(error);
          else resolve(key);
        });
      });
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running >= atOnce) {
      if (this.#waiting.length >= waitingMaximum) {
        throw new UnavailableError('logins-busy', 'too many log in at once; try again', undefined, 5);
      }
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    this.#running += 1;
  }
}

const encode = ({ log2N, r, p }: ScryptCost, salt: Uint8Array, hash: Uint8Array): string =>
  ['scrypt', log2N, r, p, base64Url(salt), base64Url(hash)].join('$');

function decode(stored: string) {
  const [, log2N, r, p, salt = '', hash = ''] = stored.split('$');
  return {
    cost: { log2N: Number(log2N), r: Number(r), p: Number(p) },
    salt: Buffer.from(salt, 'base64url'),
    hash: Buffer.from(hash, 'base64url'),
  };
}

const base64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
