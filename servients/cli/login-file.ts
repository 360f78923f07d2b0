/** Who is logged in where, in a file of the user's own: the refresh token, and the key that it is bound to. */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWK } from 'jose';
import { SetupError } from '../../crypto/errors.js';
import { readText, writePrivate } from '../identity-files.js';

export interface StoredLogin {
  readonly issuer: string;
  readonly refreshToken: string;
  /** ES256, with its private part. */
  readonly key: JWK;
  /** Of the deployment, base64 DER, for HTTPS. */
  readonly roots: readonly string[];
  readonly accessToken: string;
  readonly expiresS: number;
}

type Logins = Readonly<Record<string, StoredLogin>>;

/** XDG Base Directory Specification. */
const loginFile = (): string => {
  const { XDG_CONFIG_HOME: configured = '' } = process.env;
  return join(configured === '' ? join(homedir(), '.config') : configured, 'gridring/logins.json');
};

/** @param url of the backend. @throws SetupError `login-missing` */
export function readLogin(url: string): StoredLogin {
  const login = readAll()[url];
  if (!login) throw new SetupError('login-missing', `nobody is logged in at ${url}: "gridring login --url ${url}"`);
  return login;
}

/** The backends at which somebody is logged in here. */
export const loginUrls = (): readonly string[] => Object.keys(readAll());

export function writeLogin(url: string, login: StoredLogin | undefined): void {
  const all = new Map(Object.entries(readAll()));
  all.delete(url);
  if (login) all.set(url, login);
  writePrivate(loginFile(), `${JSON.stringify(Object.fromEntries(all), null, 2)}\n`);
}

/** Longer than a renewal takes: who holds the lock so long was killed. */
const lockMs = 20_000;

/** One command at a time: a refresh token that two of them use ends the login. */
export async function holdingLogins<T>(work: () => Promise<T>): Promise<T> {
  const lock = `${loginFile()}.lock`;
  const untilMs = performance.now() + lockMs;
  while (!tryLock(lock)) {
    if (performance.now() > untilMs) rmSync(lock, { force: true });
    await sleep(50);
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function tryLock(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new SetupError('file-unwritable', `${path} cannot be written; check its permissions`, error);
  }
}

function readAll(): Logins {
  const path = loginFile();
  if (!existsSync(path)) return {};
  try {
    return JSON.parse(readText(path, 'logins')) as Logins;
  } catch (cause) {
    throw new SetupError('login-file', `${path} is damaged: remove it, and log in again`, cause);
  }
}
