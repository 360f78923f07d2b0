/** `gridring things` and `gridring td ID`: what is in the directory, and what its Things do. */
import type { Command } from 'commander';
import { GridringError } from '../../crypto/errors.js';
import { isReservedId, verifyRegistration } from '../../crypto/registration.js';
import { DirectoryClient, type DirectoryTrust } from '../directory-client.js';
import { callerOf, defaultDirectory, directoryAt, rootHelp, trustIn, urnOf } from './directory-options.js';
import { baseUrl } from './options.js';
import { exitCodes, printJson, printLine, table } from './output.js';
import { addConsume, addInteractionTest } from './things-consume.js';

interface Options {
  readonly directory: string;
  readonly root?: string;
  readonly json?: true;
}

export function addThings(program: Command): void {
  const things = program
    .command('things')
    .description('list the Things of a directory')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--root <file>', rootHelp)
    .option('--json', 'print one JSON object a Thing')
    .action(async ({ directory, root, json }: Options) => {
      const trust = root === undefined ? undefined : trustIn(root);
      const tds = await new DirectoryClient({ url: directory, ...callerOf(directory, trust) }).things();
      const rows = tds.map((td) => ({
        ...{ id: td.id ?? '', title: td.title, at: addressOf(td) },
        ...(trust && { signed: signedBy(td, trust) }),
      }));
      if (json) for (const row of rows) printJson(row);
      else
        printLine(
          table([['ID', 'TITLE', 'AT', ...(trust ? ['SIGNED'] : [])], ...rows.map((row) => Object.values(row))]),
        );
      const isForged = rows.some(({ id, signed }) => isReservedId(id) && signed !== undefined && signed !== 'yes');
      if (isForged) process.exitCode = exitCodes.refused;
    });
  addConsume(things);
  addInteractionTest(things);
  program
    .command('td <id>')
    .description('print the Thing Description of a Thing')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--root <file>', rootHelp)
    .option('--json', 'print it on one line')
    .action(async (id: string, { directory, root, json }: Options) => {
      const td = await directoryAt(directory, root).thing(urnOf(id));
      if (json) printJson(td);
      else printLine(JSON.stringify(td, null, 2));
    });
}

/** Whether the device has signed it, or why that cannot be said; nothing of a Thing that is no device of ours. */
function signedBy(td: WoT.ThingDescription, trust: DirectoryTrust): string {
  if (!isReservedId(td.id)) return '';
  try {
    verifyRegistration({ ...trust, nowS: trust.nowS() }, { ...td });
    return 'yes';
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return error.code;
  }
}

/** The base, or the origin of the first form. */
function addressOf({ base, properties, actions }: WoT.ThingDescription): string {
  if (base !== undefined) return base;
  const [affordance] = [...Object.values(properties ?? {}), ...Object.values(actions ?? {})];
  const href = affordance?.forms[0]?.href;
  return href === undefined ? '' : new URL(href).origin;
}
