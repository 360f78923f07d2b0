// What tsc leaves to be done. It copies no data files: Thing Models and JSON Schemas are read at run time from beside the compiled
// code. It compiles only what has changed, and leaves behind what was made of sources that are gone. Nor does it make programs
// executable, which npm does only when it links them for the first time.
import { chmodSync, cpSync, existsSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const made = join(entry.parentPath, entry.name);
  const source = join(root, relative(dist, made));
  const known = [source, source.replace(/(\.d\.ts|\.js)$/, '.ts')].some(existsSync);
  if (entry.isFile() && entry.name !== 'tsconfig.build.tsbuildinfo' && !known) rmSync(made);
}
for (const folder of ['td', 'servients']) {
  cpSync(join(root, folder), join(dist, folder), { recursive: true, filter: (path) => !/\.[cm]?ts$/.test(path) });
}
const program = join(dist, 'servients/cli/main.js');
chmodSync(program, 0o755);
// Tests refuse a program that is older than its sources, and tsc does not write again what is the same.
utimesSync(program, new Date(), new Date());
