/** Options of every command that shows or signs membership lists. */
import { join } from 'node:path';
import type { Command } from 'commander';

export const demoFolder = 'gridring-data';

export const withRoot = (command: Command): Command =>
  command.option('--root <file>', 'root certificate', join(demoFolder, 'ca/root.pem'));

export const withList = (command: Command): Command =>
  withRoot(command.option('--file <file>', 'the membership list', join(demoFolder, 'membership.cbor')));

export const withAuthority = (command: Command): Command =>
  command.option('--authority <folder>', 'certificate.pem and key.pem of the authority', join(demoFolder, 'authority'));

/** Of what the authority signs; where it is published differs. */
export const withSigning = (command: Command): Command =>
  withAuthority(withList(command))
    .option('--export <file>', 'write a request, for "membership sign" on the machine that has the key; sign nothing')
    .option('--dry-run', 'say what would change, and sign nothing')
    .option('--json', 'print JSON');
