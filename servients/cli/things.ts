/** `gridring things` and `gridring td ID`: what is in the directory. */
import type { Command } from 'commander';
import { DirectoryClient } from '../directory-client.js';
import { baseUrl } from './options.js';
import { printJson, printLine, table } from './output.js';

export const defaultPort = 8470;
const defaultDirectory = `http://127.0.0.1:${defaultPort}`;

interface Options {
  readonly directory: string;
  readonly json?: true;
}

export function addThings(program: Command): void {
  program
    .command('things')
    .description('list the Things of a directory')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--json', 'print one JSON object a Thing')
    .action(async ({ directory, json }: Options) => {
      const tds = await new DirectoryClient({ url: directory }).things();
      const rows = tds.map((td) => ({ id: td.id ?? '', title: td.title, at: addressOf(td) }));
      if (json) for (const row of rows) printJson(row);
      else printLine(table([['ID', 'TITLE', 'AT'], ...rows.map(({ id, title, at }) => [id, title, at])]));
    });
  program
    .command('td <id>')
    .description('print the Thing Description of a Thing')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--json', 'print it on one line')
    .action(async (id: string, { directory, json }: Options) => {
      const urn = id.startsWith('urn:') ? id : `urn:gridring:meter:${id}`;
      const td = await new DirectoryClient({ url: directory }).thing(urn);
      if (json) printJson(td);
      else printLine(JSON.stringify(td, null, 2));
    });
}

/** The base, or the origin of the first form. */
function addressOf({ base, properties, actions }: WoT.ThingDescription): string {
  if (base !== undefined) return base;
  const [affordance] = [...Object.values(properties ?? {}), ...Object.values(actions ?? {})];
  const href = affordance?.forms[0]?.href;
  return href === undefined ? '' : new URL(href).origin;
}
