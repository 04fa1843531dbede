/** A number with its noun, as in "1 row" and "2 rows". @param noun in the singular, with a regular plural */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
