/** A table's live data files, read from its log as any Delta reader would. */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

export function liveFilesOf(location) {
  const log = path.join(location, '_delta_log');
  const commits = readdirSync(log)
    .filter((name) => /^\d{20}\.json$/.test(name))
    .sort();
  const live = new Set();
  for (const line of commits.flatMap((name) => readFileSync(path.join(log, name), 'utf8').trim().split('\n'))) {
    const { add, remove } = JSON.parse(line);
    if (add) live.add(path.join(location, decodeURIComponent(add.path)));
    if (remove) live.delete(path.join(location, decodeURIComponent(remove.path)));
  }
  return [...live];
}
