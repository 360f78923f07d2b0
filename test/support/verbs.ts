/** Verbs of the command line, run in the test's own process: what they print, and what they refuse. */
import { Command } from 'commander';
import { vi } from 'vitest';
import { runProgram } from '../../servients/cli/program.js';
import type { Ended } from './processes.js';

/** @returns what it prints. @throws what it would report */
export async function runVerb(add: (program: Command) => void, ...args: readonly string[]): Promise<string> {
  let printed = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((printed += String(text)), true));
  const program = new Command()
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  add(program);
  for (const command of program.commands) command.exitOverride();
  try {
    await program.parseAsync(args, { from: 'user' });
  } finally {
    write.mockRestore();
  }
  return printed;
}

/** The last JSON object that it prints. */
export async function jsonOf<T>(add: (program: Command) => void, ...args: readonly string[]): Promise<T> {
  const lines = (await runVerb(add, ...args, '--json')).trimEnd().split('\n');
  return JSON.parse(lines.at(-1) ?? 'null') as T;
}

/** The code of what is refused. */
export async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
  throw new Error('was done');
}

let before: Promise<unknown> = Promise.resolve();

/**
 * The whole program with these arguments, as a shell would see it; one after the other, as they share this process. Nothing
 * that starts and then runs until it is told to stop: that ends the process.
 */
export const runHere = (...args: readonly string[]): Promise<Ended> => runHeard(() => undefined, ...args);

/** The same, for one that waits for what somebody does about its output. */
export function runHeard(onOutput: (text: string) => void, ...args: readonly string[]): Promise<Ended> {
  const ended = before.then(() => runAlone(onOutput, args));
  before = ended.catch(() => undefined);
  return ended;
}

async function runAlone(onOutput: (text: string) => void, args: readonly string[]): Promise<Ended> {
  let [out, errors] = ['', ''];
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      out += String(text);
      onOutput(String(text));
      return true;
    }),
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((errors += String(text)), true)),
  ];
  const exitCode = process.exitCode;
  process.exitCode = 0;
  try {
    await runProgram(args);
    return { code: process.exitCode, out, errors };
  } finally {
    process.exitCode = exitCode;
    for (const spy of spies) spy.mockRestore();
  }
}
