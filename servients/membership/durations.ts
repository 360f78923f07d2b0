/** Durations as people write them: `90s`, `15m`, `2h`, `7d`. */
const unitS = { d: 86_400, h: 3_600, m: 60, s: 1 } as const;

/** @returns seconds; undefined when the text is none */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  return count === undefined ? undefined : Number(count) * unitS[unit as keyof typeof unitS];
}

/** In the largest unit that is exact. */
export function duration(seconds: number): string {
  const [unit, length] = Object.entries(unitS).find(([, length]) => seconds % length === 0 && seconds >= length) ?? [
    's',
    1,
  ];
  return `${seconds / length}${unit}`;
}
