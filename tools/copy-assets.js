// tsc copies no data files: Thing Models and JSON Schemas are read at run time from beside the compiled code.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
for (const folder of ['td', 'servients']) {
  cpSync(`${root}${folder}`, `${root}dist/${folder}`, {
    recursive: true,
    filter: (path) => !/\.[cm]?ts$/.test(path),
  });
}
