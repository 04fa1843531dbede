/**
 * Requests of the model test that the server must refuse without changing anything: no row, no new column, no half of a batch.
 */
import type { DataClient } from './data-client.js';
import type { ModelTable } from './model-table.js';
import { type PayloadValue, bigint, double, flatRecordJson, json, payloadOf, varchar } from './payload-value.js';
import type { Answer } from './server.js';

export interface Refusal {
  readonly description: string;
  send(client: DataClient): Promise<Answer>;
  /** What the message must name, such as the column. */
  readonly names: string;
}

/** Columns must exist for these: the scenario begins every table with a full payload. */
const BAD_VALUES: readonly { readonly field: string; readonly value: PayloadValue; readonly names: string }[] = [
  { field: 'n', value: varchar('thirty'), names: 'n' },
  { field: 'n', value: json({ a: 1 }), names: 'n' },
  { field: 'Ok', value: bigint(1), names: 'Ok' },
  { field: 'note', value: bigint(7), names: 'note' },
  { field: 'ratio', value: bigint(2n ** 53n + 1n), names: 'ratio' },
  { field: 'n', value: bigint(2n ** 63n), names: 'n' },
  { field: 'id', value: varchar('x'), names: 'id' },
  { field: 'TimeStamp', value: varchar('x'), names: 'TimeStamp' },
  { field: '_LSN', value: bigint(1), names: '_LSN' },
  { field: 'two words', value: bigint(1), names: 'two words' },
];

export function randomRefusal(table: ModelTable): Refusal {
  const { random } = table;
  switch (random.integer(0, 5)) {
    case 0:
      return twoSpellings(table);
    case 1:
      return badId(table);
    case 2:
      return badLineOfBulk(table);
    case 3:
      return fractionForHugeIntegers(table) ?? badRecordOfBatch(table);
    default:
      return badRecordOfBatch(table);
  }
}

/** Good records, among them one with a field that nobody has seen, and one bad record: all are refused. */
function badRecordOfBatch(table: ModelTable): Refusal {
  const bad = table.random.pick(BAD_VALUES);
  const good = Array.from({ length: table.random.integer(0, 4) }, () => table.newRow().record);
  const unseen = table.newRow(payloadOf({ never_stored: bigint(1) })).record;
  const records = table.random.shuffled([...good, unseen, table.newRow(payloadOf({ [bad.field]: bad.value })).record]);
  return {
    description: `a batch with ${bad.field} = ${bad.value.jsonText}`,
    send: (client) => client.writeBatch(table.name, records),
    names: bad.names,
  };
}

function badLineOfBulk(table: ModelTable): Refusal {
  const bad = table.random.pick(BAD_VALUES.filter(({ field }) => ['n', 'Ok', 'note', 'ratio'].includes(field)));
  const records = [table.newRow().record, table.newRow(payloadOf({ [bad.field]: bad.value })).record, table.newRow().record];
  return {
    description: `a bulk stream with ${bad.field} = ${bad.value.jsonText}`,
    send: (client) => client.bulk(table.name, records.map(flatRecordJson), '&on_error=abort'),
    names: bad.names,
  };
}

function twoSpellings(table: ModelTable): Refusal {
  const { record } = table.newRow(payloadOf({ note: varchar('a'), NOTE: varchar('b') }));
  return { description: 'two spellings of one column', send: (client) => client.write(table.name, record), names: 'NOTE' };
}

function badId(table: ModelTable): Refusal {
  const { record } = table.newRow();
  return {
    description: 'an id of two lines',
    send: (client) => client.replace(table.name, { ...record, id: 'not\nallowed' }),
    names: 'id',
  };
}

/** Widening to DOUBLE would change a stored integer, so the fraction is refused. */
function fractionForHugeIntegers(table: ModelTable): Refusal | undefined {
  const holdsHuge = table.reference.rows().some((row) => {
    const big = row.payload.get('big');
    return big !== undefined && BigInt(big.jsonText) > 2n ** 53n;
  });
  if (!holdsHuge) return undefined;
  const { record } = table.newRow(payloadOf({ big: double(0.5) }));
  return { description: 'a fraction for a column with huge integers', send: (client) => client.write(table.name, record), names: 'big' };
}
