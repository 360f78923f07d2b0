/** The program `gridring`: one verb a file, of which only the one that is asked for is loaded. */
import { Command, CommanderError } from 'commander';
import { inTrace, parseTraceparent } from '../bindings/trace.js';
import { softwareVersion } from '../version.js';
import { exitCodeHelp, exitCodes, reportError } from './output.js';

type AddVerbs = (program: Command) => void;

interface VerbFile {
  readonly verbs: readonly string[];
  readonly load: () => Promise<AddVerbs>;
}

const files: readonly VerbFile[] = [
  { verbs: ['demo'], load: async () => (await import('./demo.js')).addDemo },
  { verbs: ['read'], load: async () => (await import('./read.js')).addRead },
  { verbs: ['gaps'], load: async () => (await import('./gaps.js')).addGaps },
  { verbs: ['checkpoint'], load: async () => (await import('./checkpoint.js')).addCheckpoint },
  { verbs: ['things', 'td'], load: async () => (await import('./things.js')).addThings },
  { verbs: ['command'], load: async () => (await import('./command.js')).addCommand },
  { verbs: ['epoch'], load: async () => (await import('./epoch.js')).addEpoch },
  { verbs: ['grant'], load: async () => (await import('./grant.js')).addGrant },
  { verbs: ['group'], load: async () => (await import('./group.js')).addGroup },
  { verbs: ['incident'], load: async () => (await import('./incident.js')).addIncident },
  { verbs: ['backend', 'gateway', 'meter'], load: async () => (await import('./roles.js')).addRoles },
  { verbs: ['ca'], load: async () => (await import('./ca.js')).addCa },
  { verbs: ['proposal'], load: async () => (await import('./proposal.js')).addProposal },
  { verbs: ['membership'], load: async () => (await import('./membership.js')).addMembership },
  { verbs: ['doctor'], load: async () => (await import('./doctor.js')).addDoctor },
  { verbs: ['login', 'logout'], load: async () => (await import('./login.js')).addLogin },
  { verbs: ['user'], load: async () => (await import('./user.js')).addUser },
  { verbs: ['audit'], load: async () => (await import('./audit.js')).addAudit },
  { verbs: ['backup', 'restore'], load: async () => (await import('./backup.js')).addBackup },
  { verbs: ['sim'], load: async () => (await import('./sim.js')).addSim },
];

/** Runs a command line, and sets the exit code of the process. */
export async function runProgram(args: readonly string[]): Promise<void> {
  const program = new Command('gridring')
    .description(
      'Contributory group keys and end-to-end sealed readings for smart meters, as W3C Web of Things Things.',
    )
    .version(softwareVersion())
    .showHelpAfterError('(see --help)')
    .addHelpText('after', exitCodeHelp)
    .enablePositionalOptions()
    .exitOverride();
  // On a small computer, loading all verbs takes a second or more. Help, and a verb that does not exist, need them all.
  const asked = files.filter(({ verbs }) => verbs.includes(args[0] ?? ''));
  for (const { load } of asked.length > 0 ? asked : files) (await load())(program);
  for (const command of program.commands) command.exitOverride().showHelpAfterError('(see --help)');
  try {
    const { TRACEPARENT: given } = process.env;
    await inTrace(parseTraceparent(given), () => program.parseAsync(args, { from: 'user' }));
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.setup;
    else process.exitCode = reportError(error, args.includes('--json'));
  }
}
