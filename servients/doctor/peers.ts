/** What a role needs of others: the backend and its clock, the database, an epoch. */
import { existsSync } from 'node:fs';
import { GridringError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Fetch } from '../bindings/tls-fetch.js';
import { isPostgresUrl } from '../database-url.js';
import { failure, ok, warning, type Finding } from './finding.js';

const answerWithinMs = 5_000;

/** Reaches a server of ours, and compares the clocks. */
export async function checkServer(name: string, url: string, fetch: Fetch): Promise<readonly Finding[]> {
  let response: Response;
  try {
    response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(answerWithinMs) });
  } catch (error) {
    const { cause } = error as Error;
    const why = (cause instanceof Error ? cause : (error as Error)).message;
    const advice = 'see that it runs and is reached from here; over https, that its certificate is of this root and names the host'; // prettier-ignore
    return [failure(name, `${url} does not answer: ${why}`, advice)];
  }
  const state =
    response.status === 200
      ? ok(name, `${url} is ready`)
      : failure(name, `${url} is not ready (${response.status}): ${await textOf(response)}`, 'look at what it names');
  const date = Date.parse(response.headers.get('date') ?? '');
  if (Number.isNaN(date)) return [state];
  const offS = Math.round((Date.now() - date) / 1000);
  const clock =
    Math.abs(offS) <= 5
      ? ok('clock', `agrees with ${url}`)
      : (Math.abs(offS) > limits.clockSkewS ? failure : warning)(
          'clock',
          `${Math.abs(offS)} s ${offS > 0 ? 'ahead of' : 'behind'} ${url}`,
          'let both machines follow a time server (timedatectl set-ntp true)',
        );
  return [state, clock];
}

/** One line, and not much of it: whoever answers may be anybody. */
const textOf = async (response: Response): Promise<string> =>
  (await response.text()).slice(0, 300).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');

/** Without changing anything: tables are made and brought forward by the backend itself. */
export async function checkDatabase(place: string, suite: string): Promise<Finding> {
  const name = 'database';
  try {
    if (isPostgresUrl(place)) return await checkPostgres(place, suite);
    if (!existsSync(place)) return ok(name, `${place} is made at the first start`);
    const { openSnapshot } = await import('../backup/tables.js');
    await openSnapshot(place, 'backend').close();
    return ok(name, `${place} can be read`);
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    const advices: Readonly<Record<string, string>> = {
      'data-version': 'update this program, or restore a backup of before',
      'database-refused': 'check user, password and name in the URL, and what pg_hba.conf lets in',
      'database-unreachable': 'see that PostgreSQL runs and is reached from here',
    };
    return failure(name, `${error.message} [${error.code}]`, advices[error.code] ?? 'name another database, or put back a backup'); // prettier-ignore
  }
}

async function checkPostgres(url: string, suite: string): Promise<Finding> {
  const { Database } = await import('../stores/postgres/database.js');
  const { assertCurrent } = await import('../stores/postgres/migrate.js');
  const database = new Database(url);
  try {
    await assertCurrent(database, suite);
    return ok('database', `${database.place} is reached, and of a version that is known here`);
  } finally {
    await database.close();
  }
}

interface KeyStatus {
  readonly groups?: readonly {
    readonly gid?: string;
    readonly state?: string;
    readonly epoch?: number;
    readonly lastErrorCode?: string;
  }[];
}

/** Whether the groups of a gateway that runs have a key; of one that does not run, nothing. */
export async function checkEpochs(thingUrl: string): Promise<readonly Finding[]> {
  let status: KeyStatus;
  try {
    const response = await fetch(`${thingUrl}/properties/keyStatus`, { signal: AbortSignal.timeout(answerWithinMs) });
    if (!response.ok) return [];
    status = (await response.json()) as KeyStatus;
  } catch {
    return [];
  }
  const groups = Array.isArray(status.groups) ? status.groups : [];
  return groups.map(({ gid = '', state, epoch, lastErrorCode }) => {
    const name = `group ${String(gid).slice(0, 32)}`;
    if (state === 'active') return ok(name, `epoch ${Number(epoch)} is active`);
    const why = lastErrorCode === undefined ? String(state) : `the last attempt failed: ${String(lastErrorCode)}`;
    const advice = '"gridring group status" says who is missing; members must be enrolled and reached';
    return failure(name, `no epoch is active; ${why}`, advice);
  });
}
