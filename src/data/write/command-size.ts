/** How many bytes a command takes in the queue, about: what the bound of the queue counts. */
import type { RecordInput } from './record.js';
import type { WriteCommand } from './write-command.js';

/** Rough bytes of a command that brings no rows. */
const SMALL_COMMAND_BYTES = 256;

export function roughBytes(command: WriteCommand): number {
  if (command.kind === 'rows') return command.records.reduce((sum, record) => sum + roughRecordBytes(record), SMALL_COMMAND_BYTES);
  if (command.kind === 'arrow') return command.stream.length + SMALL_COMMAND_BYTES;
  if (command.kind === 'merge') return SMALL_COMMAND_BYTES + roughRecordBytes(command);
  if (command.kind === 'bulk') return SMALL_COMMAND_BYTES;
  return command.ids.reduce((sum, id) => sum + id.length + 8, SMALL_COMMAND_BYTES);
}

/** A cheap guess that is right within a small factor: text counts by length, everything else by a constant. */
function roughRecordBytes(record: Pick<RecordInput, 'payload'>): number {
  let bytes = 96;
  if (typeof record.payload !== 'object' || record.payload === null) return bytes;
  for (const [field, value] of Object.entries(record.payload)) bytes += field.length + roughValueBytes(value);
  return bytes;
}

function roughValueBytes(value: unknown): number {
  if (typeof value === 'string') return value.length + 3;
  if (typeof value !== 'object' || value === null) return 16;
  return Object.entries(value).reduce((sum, [key, member]) => sum + key.length + roughValueBytes(member), 16);
}
