/** A column of a Parquet file or an Arrow stream as its own schema declares it, whatever a library would make of it. */
export interface SourceField {
  readonly name: string;
  /** Physical and logical type in the words of the format: `INT64 TIMESTAMP_MICROS UTC`, `Timestamp(NANOSECOND)`. */
  readonly type: string;
  readonly decimal?: { readonly precision: number; readonly scale: number };
  /** Members of a struct; the element of a list; key and value of a map; the values of what is encoded by a dictionary or by runs. */
  readonly children: readonly SourceField[];
}
