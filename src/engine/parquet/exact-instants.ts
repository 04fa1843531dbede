/**
 * Lets the engine read instants of a Parquet file with every digit that they have. By itself it cuts those of INT96, and those with nanoseconds that are
 * marked as UTC, to microseconds and says nothing. With the mark taken away it reads nanoseconds; INT96 are read as the bytes they are.
 *
 * Source: `SchemaElement` and `TimestampType` of parquet.thrift.
 */
import { CompactReader, FALSE, TRUE } from './compact-protocol.js';
import { type ElementField, numberField, rewriteFooter } from './rewrite-footer.js';

/** Ids of the fields of `SchemaElement`, of the union `LogicalType` and of `TimestampType`. */
const [ELEMENT_TYPE, ELEMENT_TYPE_LENGTH, ELEMENT_LOGICAL_TYPE] = [1, 2, 10];
const LOGICAL_TIMESTAMP = 8;
const IS_ADJUSTED_TO_UTC = 1;
/** Of the union `TimeUnit`. */
const NANOSECONDS = 3;
/** Numbers of the enumeration `Type`. */
const [INT96, FIXED_LEN_BYTE_ARRAY] = [3, 7];
const INT96_BYTES = 12;

/** Changes the footer of the file. @returns false when the file has no plain footer, and is as it was */
export function exposeInstants(path: string): Promise<boolean> {
  return rewriteFooter(path, exposed);
}

function exposed(fields: readonly ElementField[]): readonly ElementField[] {
  const type = fields.find(({ id }) => id === ELEMENT_TYPE);
  if (type?.bytes.equals(numberField(ELEMENT_TYPE, INT96).bytes))
    return [
      ...fields.filter(({ id }) => id !== ELEMENT_TYPE && id !== ELEMENT_TYPE_LENGTH),
      numberField(ELEMENT_TYPE, FIXED_LEN_BYTE_ARRAY),
      numberField(ELEMENT_TYPE_LENGTH, INT96_BYTES),
    ];
  return fields.map((field) => (field.id === ELEMENT_LOGICAL_TYPE ? { ...field, bytes: withoutUtc(field.bytes) } : field));
}

/** Only nanoseconds: the engine keeps the digits of the others. */
function withoutUtc(logicalType: Buffer): Buffer {
  const timestamp = new CompactReader(logicalType).structFields().find(({ id }) => id === LOGICAL_TIMESTAMP);
  if (!timestamp) return logicalType;
  const [isAdjusted, unit] = new CompactReader(logicalType, timestamp.from).structFields();
  const header = (IS_ADJUSTED_TO_UTC << 4) | TRUE;
  if (!isAdjusted || !unit || logicalType[isAdjusted.from - 1] !== header) return logicalType;
  const [nanoseconds] = new CompactReader(logicalType, unit.from).structFields();
  if (nanoseconds?.id !== NANOSECONDS) return logicalType;
  const changed = Buffer.from(logicalType);
  changed[isAdjusted.from - 1] = (IS_ADJUSTED_TO_UTC << 4) | FALSE;
  return changed;
}
