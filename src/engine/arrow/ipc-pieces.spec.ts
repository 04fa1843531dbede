import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { Endianness } from 'apache-arrow/fb/endianness';
import { Field } from 'apache-arrow/fb/field';
import { Message } from 'apache-arrow/fb/message';
import { MessageHeader } from 'apache-arrow/fb/message-header';
import { MetadataVersion } from 'apache-arrow/fb/metadata-version';
import { Schema } from 'apache-arrow/fb/schema';
import { Struct_ } from 'apache-arrow/fb/struct-';
import { Type } from 'apache-arrow/fb/type';
import { Builder } from 'flatbuffers';
import { expectThat } from '../../../test/support/expectations.js';
import { arrowFields } from './arrow-fields.js';
import { END_OF_STREAM, IpcPieces } from './ipc-pieces.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'miniodb-ipc-pieces-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const dictionary = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32(), 7);
const streamOf = (...words: string[]): Buffer =>
  Buffer.from(arrow.tableToIPC(new arrow.Table({ word: arrow.vectorFromArray(words, dictionary) }), 'stream'));
const EMPTY = Buffer.from(arrow.tableToIPC(new arrow.Table(new arrow.Schema([new arrow.Field('word', dictionary, true)])), 'stream'));

async function open(...parts: Buffer[]): Promise<IpcPieces> {
  const file = path.join(directory, 'body.arrow');
  writeFileSync(file, Buffer.concat(parts));
  return IpcPieces.open(file);
}

/** The words of every piece, read by itself, of all shares. */
async function wordsOf(parts: readonly Buffer[], of = 1): Promise<string[][]> {
  const words: string[][] = [];
  for (let number = 0; number < of; number += 1) {
    const pieces = await open(...parts);
    for await (const piece of pieces.pieces({ number, of }))
      words[piece.number] = arrow
        .tableFromIPC(piece.stream)
        .toArray()
        .map((row) => String((row as { word: unknown }).word));
    await pieces.close();
  }
  return words;
}

describe('pieces of an Arrow body', () => {
  it.each([1, 2, 3])('are those of all its streams, in their order, for %i who share them', async (of) => {
    expect(await wordsOf([streamOf('a', 'b'), streamOf('b', 'c'), streamOf('d')], of)).toEqual([['a', 'b'], ['b', 'c'], ['d']]);
  });

  it('are none of streams without batches, wherever they are', async () => {
    expect(await wordsOf([EMPTY, streamOf('a'), EMPTY, EMPTY, streamOf('b'), EMPTY])).toEqual([['a'], ['b']]);
    expect(await wordsOf([EMPTY, EMPTY])).toEqual([]);
  });

  it('have the dictionaries of their own stream only', async () => {
    expect(await wordsOf([streamOf('a', 'b'), streamOf('c')])).toEqual([['a', 'b'], ['c']]);
  });

  it.each([
    ['a zero', Buffer.from([0])],
    ['an end mark', END_OF_STREAM],
    ['text and an end mark', Buffer.concat([Buffer.from('{"id":1}'), END_OF_STREAM])],
    ['half a stream', streamOf('c', 'd').subarray(0, 300)],
  ])('are refused when %s follows', async (_what, behind) => {
    await expect(wordsOf([streamOf('a'), behind])).rejects.toThrow(/end-of-stream mark|bytes that are no Arrow IPC stream/);
  });

  it('are refused when streams have different columns', async () => {
    const other = Buffer.from(arrow.tableToIPC(new arrow.Table({ word: arrow.vectorFromArray([1], new arrow.Int32()) }), 'stream'));
    await expect(wordsOf([streamOf('a'), other])).rejects.toThrow(
      'stream 2 of the body has other columns than the first: column word is of another type',
    );
  });

  it('are refused when a stream is cut anywhere', async () => {
    const whole = Buffer.concat([streamOf('a'), streamOf('b', 'c')]);
    for (let bytes = 0; bytes < whole.length; bytes += 7) {
      const cut = whole.subarray(0, bytes);
      // The first alone is whole.
      if (cut.equals(streamOf('a'))) continue;
      await expectThat(wordsOf([cut]), `${bytes} bytes`).rejects.toThrow(/\S/);
    }
  });
});

describe('columns of an Arrow stream', () => {
  it('have the type that the schema message says', async () => {
    const fields = [
      new arrow.Field('d', new arrow.Decimal(2, 50, 256), true),
      new arrow.Field('t', new arrow.TimestampNanosecond('UTC'), true),
      new arrow.Field('w', dictionary, true),
      new arrow.Field('l', new arrow.List(new arrow.Field('item', new arrow.DateMillisecond(), true)), true),
      new arrow.Field('e', new arrow.Utf8(), true, new Map([['ARROW:extension:name', 'arrow.json']])),
    ];
    const pieces = await open(Buffer.from(arrow.tableToIPC(new arrow.Table(new arrow.Schema(fields)), 'stream')));
    await pieces.close();
    expect(pieces.fields).toEqual([
      { name: 'd', type: 'Decimal256', decimal: { precision: 50, scale: 2 }, children: [] },
      { name: 't', type: 'Timestamp(NANOSECOND) UTC', children: [] },
      { name: 'w', type: 'Dictionary', children: [{ name: 'w', type: 'Utf8', children: [] }] },
      { name: 'l', type: 'List', children: [{ name: 'item', type: 'Date(MILLISECOND)', children: [] }] },
      { name: 'e', type: 'Utf8 arrow.json', children: [] },
    ]);
  });

  it('of a big-endian machine are refused', () => {
    const builder = new Builder();
    Schema.startSchema(builder);
    Schema.addEndianness(builder, Endianness.Big);
    const schema = Schema.endSchema(builder);
    Message.finishMessageBuffer(builder, Message.createMessage(builder, MetadataVersion.V5, MessageHeader.Schema, schema, 0n, 0));
    expect(() => arrowFields(builder.asUint8Array())).toThrow('big-endian');
  });

  it('are refused when the message points to one of them from many places', () => {
    const builder = new Builder();
    let field = fieldWith(builder, []);
    for (let depth = 0; depth < 40; depth += 1) field = fieldWith(builder, [field, field]);
    const fields = Schema.createFieldsVector(builder, [field]);
    Schema.startSchema(builder);
    Schema.addFields(builder, fields);
    const schema = Schema.endSchema(builder);
    Message.finishMessageBuffer(builder, Message.createMessage(builder, MetadataVersion.V5, MessageHeader.Schema, schema, 0n, 0));
    expect(() => arrowFields(builder.asUint8Array())).toThrow('its schema is too large');
  });
});

function fieldWith(builder: Builder, members: number[]): number {
  const children = Field.createChildrenVector(builder, members);
  const type = Struct_.createStruct_(builder);
  Field.startField(builder);
  Field.addTypeType(builder, Type.Struct_);
  Field.addType(builder, type);
  Field.addChildren(builder, children);
  return Field.endField(builder);
}
