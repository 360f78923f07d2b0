/** How the command line speaks: text for people, one JSON object a line for programs, and exit codes that mean something. */
import { GridringError, NotFoundError, SetupError, UnavailableError } from '../../crypto/errors.js';
import { PeerRefusal } from '../bindings/peer-refusal.js';
import type { RuntimeEvent } from '../runtime.js';

export const exitCodes = {
  done: 0,
  failed: 1,
  setup: 2,
  refused: 3,
  notFound: 4,
  unavailable: 5,
  reported: 6,
} as const;

export const exitCodeHelp = `
Exit codes:
  0  done
  1  failed: not all members confirmed, something was lost, or a fault of the program
  2  wrong usage or setup: options, configuration, files, ports
  3  refused, or it does not verify
  4  not found
  5  a part that is needed cannot be reached
  6  nothing is missing, but meters report gaps, or readings were given up by policy (gridring gaps)`;

export const printJson = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};

/** Control characters beside tabs and line ends: texts come from peers, and a terminal would do what these say. */
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const printable = (text: string): string => text.replace(unprintable, '\ufffd');

export const printLine = (line: string): void => {
  process.stdout.write(`${printable(line)}\n`);
};

/** Prints events as JSON, or as whatever text `describe` gives; events without a text are for programs only. */
export const eventPrinter =
  (json: boolean, describe: (event: RuntimeEvent) => string | undefined) =>
  (event: RuntimeEvent): void => {
    if (json) {
      printJson(event);
      return;
    }
    const text = describe(event);
    if (text !== undefined) printLine(text);
  };

/** Says what went wrong and what to do. @returns the exit code */
export function reportError(error: unknown, json: boolean): number {
  const code = error instanceof GridringError ? error.code : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  const requestId = error instanceof PeerRefusal ? error.requestId : undefined;
  if (json) printJson({ event: 'error', code, message, ...(requestId !== undefined && { requestId }) });
  else process.stderr.write(`gridring: ${printable(message)} [${code}]${advised(error)}\n`);
  if (!(error instanceof GridringError) && error instanceof Error && !json)
    process.stderr.write(`${printable(error.stack ?? '')}\n`);
  return exitCodeOf(error);
}

/** What the peer does not tell stands in its log, under the id of the request. */
const advised = (error: unknown): string =>
  error instanceof PeerRefusal && error.requestId !== undefined && [401, 403, 500].includes(error.status)
    ? `\ngridring: the log of the server says more, at request ${error.requestId}`
    : '';

function exitCodeOf(error: unknown): number {
  if (error instanceof SetupError) return exitCodes.setup;
  if (error instanceof NotFoundError) return exitCodes.notFound;
  if (error instanceof UnavailableError) return exitCodes.unavailable;
  if (error instanceof PeerRefusal) return error.status === 404 ? exitCodes.notFound : exitCodes.refused;
  if (error instanceof GridringError) return exitCodes.refused;
  return exitCodes.failed;
}

/** Columns as wide as their widest cell, and a line for each row. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map((cell) => cell.replace(/[\r\n]/g, '\ufffd')));
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
