/** Comma-separated files without quotes, whose columns are found by their names in the first line (RFC 4180 in part). */

export interface CsvLine {
  /** As an editor counts it, from 1 for the header. */
  readonly number: number;
  readonly text: string;
  readonly fields: readonly string[];
}

export interface CsvText {
  readonly header: string;
  readonly columns: readonly string[];
  readonly lines: readonly CsvLine[];
}

/** Says nothing of what the columns mean. A byte order mark is not part of the first name. */
export function readCsv(text: string): CsvText {
  const [header = '', ...lines] = text
    .replace(/^\ufeff/, '')
    .trimEnd()
    .split(/\r?\n/);
  return {
    header,
    columns: header.split(','),
    lines: lines.map((line, i) => ({ number: i + 2, text: line, fields: line.split(',') })),
  };
}
