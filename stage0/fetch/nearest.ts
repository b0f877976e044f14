/** Which of many names a person may have meant. Pure. */

/** Names beyond so many are not compared. */
const MAX_NAMES = 5000;

/** At most `count` of the names: those that go on as `wanted` begins, and those that differ least from it. */
export function nearest(wanted: string, names: readonly string[], count: number): string[] {
  const ranked = names.slice(0, MAX_NAMES).map((name) => ({ name, rank: distance(wanted, name) }));
  ranked.sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1));
  return ranked.slice(0, count).map(({ name }) => name);
}

/** Letters to change, and a little for each that is added at the end. */
function distance(wanted: string, name: string): number {
  const [a, b] = [wanted.toLowerCase(), name.toLowerCase()];
  if (b.startsWith(a)) return (b.length - a.length) / 200;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
