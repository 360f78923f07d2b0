/** `gridring gaps`: whether all that meters have measured is at the backend, and what they say that they did not measure. */
import type { Command } from 'commander';
import { isWhole, type ChainFindings } from '../../crypto/envelope/audit.js';
import { GridringError, NotFoundError } from '../../crypto/errors.js';
import { ChainClient, type MeterListing } from '../chain-client.js';
import { auditDays, type DayRange } from '../chain-report.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { findingsJson, findingsLines } from './chain-text.js';
import { day } from './options.js';
import { exitCodes, printJson, printLine } from './output.js';

interface Options extends DayRange, CallerOptions {
  readonly meter?: string;
  readonly json?: true;
}

export function addGaps(program: Command): void {
  withCaller(program.command('gaps'))
    .description(
      'prove that nothing of the meters’ chains is missing, or name what is; needs no key that opens readings',
    )
    .option('--meter <id>', 'this meter alone; all that the reader may see otherwise')
    .option('--from <day>', 'from this day on, UTC, such as 2026-01-31', day)
    .option('--to <day>', 'up to and with this day', day)
    .option('--json', 'print one JSON object a meter, and a summary')
    .action(gaps);
}

async function gaps(options: Options): Promise<void> {
  const client = new ChainClient(callerKeys(options), systemNowS);
  const totals = { meters: 0, whole: 0, reported: 0, skipped: 0 };
  for (const meter of await chosen(client, options)) {
    const findings = await auditOf(client, meter, options);
    totals.meters += 1;
    if (findings && isWhole(findings)) totals.whole += 1;
    if (findings && findings.reports.length + findings.givenUp.length > 0) totals.reported += 1;
    if (!findings) totals.skipped += 1;
    show(meter, findings, options);
  }
  const isComplete = totals.whole + totals.skipped === totals.meters;
  if (options.json) printJson({ event: 'gaps-summary', ...totals, complete: isComplete });
  if (!isComplete) process.exitCode = exitCodes.failed;
  else if (totals.reported > 0) process.exitCode = exitCodes.reported;
}

/** One device may have had several certificates, and a chain with each. @throws NotFoundError `meter-unknown` */
async function chosen(client: ChainClient, { meter }: Options): Promise<readonly MeterListing[]> {
  const listed = await client.meters();
  if (meter === undefined) return listed;
  const name = meter.replace(/^urn:gridring:meter:/, '');
  const found = listed.filter(({ id, certHash }) => id === name || certHash === name);
  if (found.length === 0)
    throw new NotFoundError('meter-unknown', `no meter ${JSON.stringify(meter)} that you may see`);
  return found;
}

/** Undefined for one that the current list does not name: nobody vouches for its certificate any more. */
async function auditOf(
  client: ChainClient,
  { certHash }: MeterListing,
  { meter, from, to }: Options,
): Promise<ChainFindings | undefined> {
  try {
    return await auditDays(client, certHash, { from, to });
  } catch (error) {
    if (meter === undefined && error instanceof GridringError && error.code === 'meter-unknown') return undefined;
    throw error;
  }
}

function show({ id, certHash }: MeterListing, findings: ChainFindings | undefined, { json }: Options): void {
  if (json) printJson({ event: 'gaps', meter: id, certHash, ...(findings && findingsJson(findings)) });
  else if (!findings) printLine(`${id}  left out: the current list does not name ${certHash.slice(0, 16)}…`);
  else for (const line of findingsLines(id, findings)) printLine(line);
}
