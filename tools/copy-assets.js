// tsc copies no data files: Thing Models and JSON Schemas are read at run time from beside the compiled code. Nor does it
// make programs executable, which npm does only when it links them for the first time.
import { chmodSync, cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
for (const folder of ['td', 'servients']) {
  cpSync(`${root}${folder}`, `${root}dist/${folder}`, {
    recursive: true,
    filter: (path) => !/\.[cm]?ts$/.test(path),
  });
}
chmodSync(`${root}dist/servients/cli/main.js`, 0o755);
