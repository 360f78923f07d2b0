import { runBench } from './command.js';

await runBench(process.argv.slice(2), (text) => {
  process.stdout.write(`${text}\n`);
});
