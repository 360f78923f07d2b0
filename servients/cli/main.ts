#!/usr/bin/env node
/** The program `gridring`: one verb a file. */
import { Command, CommanderError } from 'commander';
import { softwareVersion } from '../runtime.js';
import { addBackup } from './backup.js';
import { addCa } from './ca.js';
import { addCheckpoint } from './checkpoint.js';
import { addDemo } from './demo.js';
import { addEpoch } from './epoch.js';
import { addGaps } from './gaps.js';
import { addMembership } from './membership.js';
import { exitCodeHelp, exitCodes, reportError } from './output.js';
import { addRead } from './read.js';
import { addRoles } from './roles.js';
import { addSim } from './sim.js';
import { addThings } from './things.js';

const program = new Command('gridring')
  .description('Contributory group keys and end-to-end sealed readings for smart meters, as W3C Web of Things Things.')
  .version(softwareVersion())
  .showHelpAfterError('(see --help)')
  .addHelpText('after', exitCodeHelp)
  .enablePositionalOptions()
  .exitOverride();

for (const add of [
  addDemo,
  addRead,
  addGaps,
  addCheckpoint,
  addThings,
  addEpoch,
  addRoles,
  addCa,
  addMembership,
  addBackup,
  addSim,
])
  add(program);
for (const command of program.commands) command.exitOverride().showHelpAfterError('(see --help)');

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.setup;
  else process.exitCode = reportError(error, process.argv.includes('--json'));
}
