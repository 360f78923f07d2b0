/** Processes of their own that run these sources, to be killed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, inlineSourceMap: true };

/** Compiles a script with what it imports of ours into `folder`. @returns what `startChild` takes */
export function compileScript(script: URL, folder: string): string {
  const name = relative(root, fileURLToPath(script)).replace(/\.ts$/, '');
  const modules = new Set([name]);
  // A Set goes on to what is added on the way.
  for (const module of modules) {
    const source = readFileSync(join(root, `${module}.ts`), 'utf8');
    const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: join(root, `${module}.ts`) });
    mkdirSync(join(folder, dirname(module)), { recursive: true });
    writeFileSync(join(folder, `${module}.js`), outputText);
    for (const [, imported = ''] of outputText.matchAll(/ from '(\.[^']+)\.js';/g)) {
      modules.add(join(dirname(module), imported));
    }
  }
  const migrations = join('servients', 'stores', 'migrations');
  cpSync(join(root, migrations), join(folder, migrations), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  return join(folder, `${name}.js`);
}

export interface Child {
  readonly process: ChildProcess;
  /** What it has written to standard output so far, and to come. */
  readonly lines: AsyncIterator<string>;
  readonly ended: Promise<unknown>;
}

/** `fileBlocks`: no file may grow beyond this many blocks of 512 bytes, as if the disk were full there. */
export function startChild(script: string, parameters: readonly string[], fileBlocks?: number): Child {
  const limit = `ulimit -f ${fileBlocks ?? 'unlimited'} && exec "$@"`;
  const command = ['-c', limit, 'sh', process.execPath, '--enable-source-maps', script, ...parameters];
  const child = spawn('/bin/sh', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  return {
    process: child,
    lines: createInterface({ input: child.stdout })[Symbol.asyncIterator](),
    ended: once(child, 'close'),
  };
}

/** Ends it as a power cut would: without a chance to do anything. @returns the lines that it still wrote */
export async function killChild(child: Child): Promise<readonly string[]> {
  child.process.kill('SIGKILL');
  return lastLines(child);
}

/** Waits for the end. @returns the lines until then */
export async function lastLines({ lines, ended }: Child): Promise<readonly string[]> {
  const rest: string[] = [];
  for (let line = await lines.next(); line.done !== true; line = await lines.next()) rest.push(line.value);
  await ended;
  return rest;
}
