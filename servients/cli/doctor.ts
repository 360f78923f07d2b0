/** `gridring doctor`: what is wrong with a role's setup, and what to do next. */
import { Argument, type Command } from 'commander';
import type { Configs } from '../config.js';
import { optionVariables } from '../config-environment.js';
import type { Finding } from '../doctor/finding.js';
import { baseUrl } from './options.js';
import { exitCodes, printJson, printLine } from './output.js';

interface Options {
  readonly config?: string;
  readonly url?: string;
  readonly json?: true;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('check configuration, keys, certificates, ports, clock, disk and database of a role; changes nothing')
    .addArgument(new Argument('<role>', 'whose').choices(['backend', 'gateway', 'meter']))
    .option('--config <file>', `its configuration; ${optionVariables.config} otherwise`)
    .option('--url <url>', 'a backend or gateway that is to be reached, with whose clock this one is compared', baseUrl)
    .option('--json', 'print one JSON object a finding')
    .action(doctor);
}

async function doctor(role: keyof Configs, { config, url, json }: Options): Promise<void> {
  const { examine } = await import('../doctor/doctor.js');
  const configFile = config ?? process.env[optionVariables.config];
  let [errors, warnings] = [0, 0];
  for await (const finding of examine({ role, configFile, url, environment: process.env })) {
    if (finding.level === 'error') errors += 1;
    if (finding.level === 'warning') warnings += 1;
    if (json) printJson(finding);
    else for (const line of linesOf(finding)) printLine(line);
  }
  if (!json)
    printLine(errors === 0 ? `nothing to mend; ${warnings} warnings` : `${errors} to mend, ${warnings} warnings`);
  if (errors > 0) process.exitCode = exitCodes.failed;
}

const marks = { ok: 'ok  ', warning: 'WARN', error: 'FAIL' } as const;

const linesOf = ({ check, level, detail, advice }: Finding): readonly string[] => [
  `${marks[level]}  ${check}: ${detail}`,
  ...(advice === undefined ? [] : [`      -> ${advice}`]),
];
