/** In which of a table's files a write looks for rows: those have to be at hand before it is carried out. */
import type { DataFile } from '../../delta/snapshot.js';
import { textsOf } from '../../engine/arrow/plain-stream.js';
import { mayHoldIds } from './find-rows.js';
import type { RecordInput } from './record.js';
import { mayHoldRange } from './row-range.js';
import type { WriteCommand } from './write-command.js';

/** Tells the files in which a command looks for rows; undefined when it looks for none. */
export function filesSought(command: WriteCommand): ((file: DataFile) => boolean) | undefined {
  switch (command.kind) {
    case 'rows':
      return command.replaces || command.table.config.write_mode === 'upsert' ? mayHoldAny(idsOfRecords(command.records)) : undefined;
    case 'arrow':
      return command.table.config.write_mode === 'upsert' ? mayHoldAny(textsOf(command.stream, command.fields.id)) : undefined;
    case 'merge':
      return mayHoldAny([command.id]);
    case 'delete':
    case 'restore':
      return mayHoldAny(command.ids);
    case 'bulk':
      if (command.keepsExisting) return () => true;
      if (command.replaces && command.table.config.write_mode === 'upsert') return () => true;
      return command.replaces && mayHoldRange(command.replaces);
  }
}

function mayHoldAny(ids: readonly string[]): ((file: DataFile) => boolean) | undefined {
  return ids.length === 0 ? undefined : mayHoldIds(ids);
}

function idsOfRecords(records: readonly RecordInput[]): string[] {
  return records.flatMap(({ id }) => (typeof id === 'string' || typeof id === 'number' || typeof id === 'bigint' ? [String(id)] : []));
}
