/** Gives the columns of a Parquet file that someone else wrote the field ids of a table. */
import { CompactReader } from './compact-protocol.js';
import { type ElementField, numberField, rewriteFooter, withColumns } from './rewrite-footer.js';

/** Ids of the fields of `SchemaElement` in parquet.thrift. */
const ELEMENT_NAME = 4;
const ELEMENT_FIELD_ID = 9;

/**
 * Writes the ids into the file.
 * @param fieldIds by name of the column, for every column of a file without nested ones
 * @returns false when the file has no plain footer, and is as it was
 */
export function writeFieldIds(path: string, fieldIds: ReadonlyMap<string, number>): Promise<boolean> {
  return rewriteFooter(path, (fields) => withFieldId(fields, fieldIds));
}

/** @throws Error for a footer that cannot be read, or a column without an id */
export function withFieldIds(footer: Buffer, fieldIds: ReadonlyMap<string, number>): Buffer {
  return withColumns(footer, (fields) => withFieldId(fields, fieldIds));
}

function withFieldId(fields: readonly ElementField[], fieldIds: ReadonlyMap<string, number>): ElementField[] {
  const nameField = fields.find(({ id }) => id === ELEMENT_NAME);
  if (!nameField) throw new Error('a column in the footer has no name');
  const reader = new CompactReader(nameField.bytes);
  reader.size();
  const name = nameField.bytes.toString('utf8', reader.position);
  const fieldId = fieldIds.get(name);
  if (fieldId === undefined) throw new Error(`column ${name} has no field id`);
  return [...fields.filter(({ id }) => id !== ELEMENT_FIELD_ID), numberField(ELEMENT_FIELD_ID, fieldId)];
}
