/** A process that opens a data folder as a meter's and stays in it. Argument: the folder. */
import { writeSync } from 'node:fs';
import { openDataFolder } from '../../../servients/data-folder.js';

const folder = openDataFolder(process.argv[2] ?? '', 'meter', 'x25519');
writeSync(1, `${folder.path}\n`);
setInterval(() => undefined, 60_000);
