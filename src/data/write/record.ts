/** Records on their way in. */
import { LosslessNumber } from '../../common/json.js';

/** What a client wants stored, as it came over the wire and before anything is checked beyond its shape. */
export interface RecordInput {
  readonly id: unknown;
  readonly timestamp: unknown;
  readonly payload: unknown;
  /** Line of the bulk body it stood in, for messages. */
  readonly line?: number;
}

/** An id as its text: a whole number stands for its digits. @returns undefined for anything else */
export function idText(id: unknown): string | undefined {
  if (typeof id === 'string') return id;
  if (id instanceof LosslessNumber) return /^-?\d+$/.test(id.value) ? id.value : undefined;
  return Number.isSafeInteger(id) ? String(id) : undefined;
}

/** A record that was left out, and why. */
export interface RecordRefusal {
  /** Position in the request, from 0. */
  readonly index: number;
  readonly line?: number;
  readonly id?: string;
  readonly field?: string;
  readonly reason: string;
}

/** A checked record as the WAL and the buffer take it: a JSON object of the table's columns, without its opening brace and LSN. */
export interface EncodedRecord {
  readonly id: string;
  readonly text: string;
}
