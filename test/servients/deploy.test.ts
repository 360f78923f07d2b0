/** That what deploys names commands, options, files, ports and variables that there are. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { addAudit } from '../../servients/cli/audit.js';
import { addBackup } from '../../servients/cli/backup.js';
import { addCa } from '../../servients/cli/ca.js';
import { addDoctor } from '../../servients/cli/doctor.js';
import { addEpoch } from '../../servients/cli/epoch.js';
import { addGroup } from '../../servients/cli/group.js';
import { addIncident } from '../../servients/cli/incident.js';
import { addMembership } from '../../servients/cli/membership.js';
import { addRoles } from '../../servients/cli/roles.js';
import { configSchema } from '../../servients/config.js';
import { variablesOf } from '../../servients/config-environment.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const program = new Command('gridring');
for (const add of [
  ...[addAudit, addBackup, addCa, addDoctor, addEpoch, addGroup, addIncident, addMembership, addRoles],
])
  add(program);

/** What is wrong with a command line, word by word as a shell gives it. */
function faultsOf(words: readonly string[]): readonly string[] {
  let command = program;
  const faults: string[] = [];
  for (const word of words) {
    const name = word.replace(/=.*$/, '');
    if (name.startsWith('-')) {
      const known = command.options.some(({ long, short }) => long === name || short === name) || name === '--help';
      if (!known) faults.push(`${command.name()} has no option ${name}`);
    } else {
      const verb = command.commands.find((each) => each.name() === word);
      if (verb) command = verb;
      else if (command.commands.length > 0 && command.registeredArguments.length === 0 && command === program)
        faults.push(`there is no command ${word}`);
    }
  }
  return command === program ? [...faults, 'it names no command'] : faults;
}

const lines = (text: string): readonly string[] => text.replace(/\\\n\s*/g, ' ').split('\n');
const wordsOf = (line: string): readonly string[] => line.trim().split(/\s+/).map((word) => word.replace(/^["']|["']$/g, '')); // prettier-ignore
const units = readdirSync(new URL('deploy/systemd/', root));

interface Service {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly user?: string;
}
const compose = parse(read('deploy/compose.yaml'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
};
const init = read('deploy/init.sh');

describe('the containers', () => {
  it('run commands that there are, as nobody in particular', () => {
    for (const [name, { image, command = [], user }] of Object.entries(compose.services)) {
      if (image !== 'gridring' || name === 'init') continue;
      expect([name, faultsOf(command)]).toEqual([name, []]);
      expect([name, user]).toEqual([name, undefined]);
    }
    expect(Object.keys(compose.services)).toEqual(['postgres', 'init', 'backend-1', 'backend-2', 'gateway', 'meters']);
  });

  it('are configured by files that the first of them writes, on the ports that they show', () => {
    for (const { command = [], ports = [], environment = {} } of Object.values(compose.services)) {
      const config = command[command.indexOf('--config') + 1];
      if (config !== undefined && command.includes('--config')) {
        expect(init).toContain(config.replace('/deploy', '"$OUT') + '"');
      }
      for (const port of ports) expect(init).toContain(`BACKEND_PORT:-${port.split(':').at(-1)}`);
      const operations = environment['GRIDRING_OPERATIONS_PORT'];
      if (operations !== undefined) expect(init).toContain(`"port": ${operations}`);
    }
  });

  it('know each variable that is ours', () => {
    const known = (['backend', 'gateway', 'meter'] as const).flatMap((role) => variablesOf(configSchema(role)));
    const names = new Set(known.map(({ name }) => name));
    const used = [...`${read('deploy/compose.yaml')}${read('deploy/Dockerfile')}`.matchAll(/GRIDRING_[A-Z_]+/g)];
    expect(used.map(([name]) => name).filter((name) => !names.has(name))).toEqual([]);
  });

  it('share no volume with the keys of CA and authority', () => {
    const holders = Object.entries(compose.services).filter(([, { volumes = [] }]) =>
      volumes.some((volume) => volume.startsWith('offline:')),
    );
    expect(holders.map(([name]) => name)).toEqual(['init']);
    for (const { volumes = [] } of Object.values(compose.services)) {
      for (const volume of volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
    }
  });

  it('are built from files that are there, and do not run as root', () => {
    const instructions = lines(read('deploy/Dockerfile')).filter((line) => /^[A-Z]+ /.test(line));
    const known = /^(?:FROM|WORKDIR|COPY|RUN|ENV|USER|HEALTHCHECK|STOPSIGNAL|ENTRYPOINT|CMD) /;
    expect(instructions.filter((line) => !known.test(line))).toEqual([]);
    const copied = instructions.filter((line) => line.startsWith('COPY ') && !line.includes('--from='));
    const sources = copied.flatMap((line) => wordsOf(line).slice(1, -1)).filter((word) => !word.startsWith('--'));
    expect(sources.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
    expect(instructions.filter((line) => line.startsWith('USER ')).at(-1)).toBe('USER 10001:10001');
    expect(instructions.some((line) => line.startsWith('HEALTHCHECK ') && line.includes('/health/live'))).toBe(true);
  });
});

describe('what sets up a deployment', () => {
  it('is a shell script, whose commands and options there are', () => {
    execFileSync('sh', ['-n', new URL('deploy/init.sh', root).pathname]);
    const commands = lines(init.replace('$(issue', '\nissue')).flatMap((line) => {
      const words = wordsOf(line.replace(/\|.*$/, ''));
      if (words[0] === '$gridring') return [words.slice(1)];
      return words[0] === 'issue' && words.length > 2 ? [['ca', 'issue', ...words.slice(1)]] : [];
    });
    expect(commands.length).toBeGreaterThan(8);
    expect(commands.flatMap(faultsOf)).toEqual([]);
  });
});

describe('the units of systemd', () => {
  it.each(units)('%s runs a command that there is, hardened', (name) => {
    const unit = read(`deploy/systemd/${name}`);
    const [, command = ''] = /^ExecStart=\/usr\/bin\/gridring (.*)$/m.exec(unit) ?? [];
    expect(faultsOf(wordsOf(command))).toEqual([]);
    for (const setting of ['User=gridring', 'NoNewPrivileges=yes', 'ProtectSystem=strict', 'CapabilityBoundingSet=']) {
      expect(lines(unit)).toContain(setting);
    }
  });

  const hasSystemd = existsSync('/usr/bin/systemd-analyze');
  if (!hasSystemd) {
    const missing = 'systemd does not judge the units here: apt install systemd';
    if (process.env['CI'] === 'true') throw new Error(missing);
    process.stderr.write(`${missing}\n`);
  }
  it.skipIf(!hasSystemd)('are what systemd takes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gridring-units-'));
    try {
      for (const name of units) {
        writeFileSync(join(folder, name), read(`deploy/systemd/${name}`).replace('/usr/bin/gridring', '/bin/true'));
      }
      execFileSync('systemd-analyze', ['verify', '--man=no', ...units.map((name) => join(folder, name))]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('the alarms', () => {
  const { groups } = parse(read('deploy/alerts.yaml')) as {
    readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);

  it('are about what is counted', () => {
    const source = `${read('servients/operations/metrics.ts')}${read('servients/operations/backend.ts')}`;
    for (const { alert, expr } of rules) {
      for (const [, name = ''] of expr.matchAll(/gridring_([a-z_]+)/g)) {
        expect([alert, name, source.includes(`'${name}'`) || source.includes(`'gridring_${name}'`)]).toEqual([alert, name, true]); // prettier-ignore
      }
    }
  });

  it('each have a row in the documents, and nothing else has', () => {
    const rows = [...read('docs/operations.md').matchAll(/^\| `(Gridring\w+)` \|/gm)].map(([, name]) => name);
    expect(rows).toEqual(rules.map(({ alert }) => alert));
  });
});

it('the documents name commands and options that there are', () => {
  const blocks = [...read('docs/operations.md').matchAll(/```sh\n([^]*?)```/g)].map(([, block = '']) => block);
  const commands = blocks.flatMap(lines).filter((line) => line.startsWith('gridring '));
  expect(commands.length).toBeGreaterThan(10);
  expect(commands.flatMap((line) => faultsOf(wordsOf(line).slice(1)))).toEqual([]);
});
