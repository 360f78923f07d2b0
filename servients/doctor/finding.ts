/** What a check has found, and what to do next. */
export interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'warning' | 'error';
  readonly detail: string;
  /** What to do next; of everything but `ok`. */
  readonly advice?: string;
}

export const ok = (check: string, detail: string): Finding => ({ check, level: 'ok', detail });
export const warning = (check: string, detail: string, advice: string): Finding => ({
  ...{ check, level: 'warning', detail, advice },
});
export const failure = (check: string, detail: string, advice: string): Finding => ({
  ...{ check, level: 'error', detail, advice },
});
