/** `gridring command`: an operator commands meters, and reads what they signed that they did. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { readingIntervalS, type Operation } from '../../crypto/envelope/operation.js';
import { SetupError, UnavailableError, VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { parseDuration } from '../membership/durations.js';
import type { CommandStatus, Operator, TargetOutcome } from '../operator.js';
import { readReaderFile } from '../reader-file.js';
import { sleep, systemNowS } from '../runtime.js';
import { baseUrl, durationOption, groupId, waitOption } from './options.js';
import { printJson, printLine, table } from './output.js';

interface Common {
  readonly operator?: string;
  readonly backend?: string;
  readonly json?: true;
}

interface SendOptions extends Common {
  readonly group?: string;
  readonly expires: number;
  readonly wait?: number;
}

const pollMs = 500;

export function addCommand(program: Command): void {
  const command = program
    .command('command')
    .description('command meters with the key of an operator: METER... OPERATION [PARAMETER]')
    .argument('<words...>', 'meters by id, or all; then the operation: ping, set-reading-interval TIME')
    .option('--group <gid>', 'the group, where the backend has several', groupId)
    .option('--expires <time>', 'for how long it is tried', durationOption, 3_600)
    .addOption(waitOption('until all have answered'))
    .addHelpText(
      'after',
      `
Examples:
  gridring command meter-01 meter-02 set-reading-interval 5m --operator gridring-data/operator --wait
  gridring command all ping --operator gridring-data/operator --wait
  gridring command status 5f3c… --operator gridring-data/operator`,
    )
    .action(send);
  const status = command
    .command('status')
    .description('what has become of a command, as the meters signed it')
    .argument('<id>', 'as it was printed when the command was sent')
    .action(showStatus);
  for (const verb of [command, status]) {
    verb
      // Not required by the parser, which would ask for it before and after `status`.
      .option('--operator <folder>', 'folder with operator.json, the key file of the operator')
      .option('--backend <url>', 'another backend than the one in the key file', baseUrl)
      .option('--json', 'print JSON');
  }
}

async function operatorOf({ operator: folder, backend: url }: Common): Promise<Operator> {
  if (folder === undefined) {
    throw new SetupError('operator-needed', 'name the folder with operator.json: --operator FOLDER');
  }
  const { Operator } = await import('../operator.js');
  const keys = readReaderFile(join(folder, 'operator.json'));
  return new Operator(url === undefined ? keys : { ...keys, backend: { ...keys.backend, url } }, folder, systemNowS);
}

async function send(words: readonly string[], options: SendOptions): Promise<void> {
  const { meters, operation } = parseWords(words);
  if (options.expires > limits.commandS) {
    throw new SetupError('expiry-invalid', `a command may last ${limits.commandS / 86_400} days at most`);
  }
  const operator = await operatorOf(options);
  const id = await operator.send({ meters, operation, lastsS: options.expires, gid: options.group });
  const untilMs = Date.now() + (options.wait ?? 0) * 1_000;
  let status = await operator.status(id);
  while (status.targets.some(isOpen) && Date.now() < untilMs) {
    await sleep(pollMs, AbortSignal.timeout(pollMs));
    status = await operator.status(id);
  }
  print(status, options.json);
  if (options.wait !== undefined) assertDone(status);
}

async function showStatus(id: string, _own: Common, command: Command): Promise<void> {
  const options: Common = command.optsWithGlobals();
  if (!/^[0-9a-f]{64}$/.test(id)) throw new SetupError('id-invalid', 'the id of a command has 64 hex digits');
  const status = await (await operatorOf(options)).status(id);
  print(status, options.json);
  assertDone(status);
}

/** @throws SetupError `command-usage` */
function parseWords(words: readonly string[]): { readonly meters: readonly string[]; readonly operation: Operation } {
  const at = words.findIndex((word) => word === 'ping' || word === 'set-reading-interval');
  if (at < 1) throw usage('name meters (or all), and then ping or set-reading-interval TIME');
  const [name, ...parameters] = words.slice(at);
  const meters = words.slice(0, at);
  if (name === 'ping') {
    if (parameters.length > 0) throw usage('ping takes no parameter');
    return { meters, operation: { name } };
  }
  const intervalS = parameters.length === 1 ? parseDuration(parameters[0] ?? '') : undefined;
  const { min, max } = readingIntervalS;
  if (intervalS === undefined || intervalS < min || intervalS > max) {
    throw usage(`set-reading-interval takes a time such as 30s or 5m, from ${min}s to ${max / 3_600}h`);
  }
  return { meters, operation: { name: 'set-reading-interval', intervalS } };
}

const usage = (advice: string): SetupError => new SetupError('command-usage', advice);

const isOpen = ({ outcome, refused }: TargetOutcome): boolean => outcome === null && refused === undefined;

const isoTime = (timeS: number): string => new Date(timeS * 1_000).toISOString();

function stateOf({ outcome, refused }: TargetOutcome, expiresS: number): string {
  if (refused !== undefined) return `a receipt that does not verify: ${refused}`;
  if (outcome === null) return systemNowS() > expiresS ? 'expired' : 'waiting';
  return outcome.code ?? 'done';
}

function print({ id, epoch, expiresS, targets }: CommandStatus, json: true | undefined): void {
  const rows = targets.map((target) => ({
    meter: target.meter,
    state: stateOf(target, expiresS),
    ...(target.outcome && { time: isoTime(target.outcome.doneS) }),
  }));
  const done = rows.filter(({ state }) => state === 'done').length;
  if (json) {
    printJson({ event: 'command', id, epoch, expires: isoTime(expiresS), done, targets: rows });
    return;
  }
  printLine(`command ${id}`);
  printLine(
    `sealed to epoch ${epoch}, until ${isoTime(expiresS)}: ${done} of ${rows.length} have signed that it is done`,
  );
  printLine(table([['METER', 'STATE', 'TIME'], ...rows.map(({ meter, state, time = '' }) => [meter, state, time])]));
}

/** @throws VerificationError `command-refused`; UnavailableError `command-unanswered` */
function assertDone({ targets }: CommandStatus): void {
  const failed = targets.filter(({ outcome, refused }) => refused !== undefined || (outcome && outcome.code !== null));
  if (failed.length > 0) {
    throw new VerificationError('command-refused', `not done by ${failed.map(({ meter }) => meter).join(', ')}`);
  }
  const open = targets.filter(isOpen);
  if (open.length === 0) return;
  throw new UnavailableError('command-unanswered', `no answer yet from ${open.map(({ meter }) => meter).join(', ')}`);
}
