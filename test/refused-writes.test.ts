/** A write that is refused changes nothing: no column, no table, no setting. And changes of settings that come at once all count. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connectGrpc, responseOf, structOf } from './support/grpc-client.js';
import { createTable, expectStatus, expectSuccess, tableInfo, valueOf, write } from './support/requests.js';
import { type RunningServer, call, startServer } from './support/server.js';

let server: RunningServer;

beforeAll(async () => {
  server = await startServer();
});

afterAll(async () => {
  await server?.stop();
});

const typeOfX = (table: string): Promise<unknown> => valueOf(server, `SELECT typeof(x) FROM ${table} LIMIT 1`);

describe('a refused batch', () => {
  const fraction = { id: 'b', payload: { x: 1.5 } };

  it.each([
    ['a bad id', { id: 'not an\x7fid', payload: {} }],
    ['a bad timestamp', { id: 'c', timestamp: 'soon', payload: {} }],
    ['a value of another type', { id: 'c', payload: { y: [1] } }],
    ['a second column that cannot become DOUBLE', { id: 'c', payload: { large: 0.5 } }],
    ['a bad name of a column', { id: 'c', payload: { '': 1 } }],
  ])('leaves the types of columns as they are (%s)', async (_name, record) => {
    const table = `types_${Math.random().toString(36).slice(2)}`;
    await write(server, table, 'a', { x: 5, y: 'text', large: 2 ** 53 - 1 });
    expectSuccess(await call(server, 'POST', '/v1/data', `{"table":"${table}","id":"big","payload":{"large":9007199254740993}}`));
    for (const records of [
      [fraction, record],
      [record, fraction],
    ])
      expectStatus(await call(server, 'POST', '/v1/data', { table, records }), 400);
    expect(await typeOfX(table)).toBe('BIGINT');
    expect((await tableInfo(server, table)).stats.record_count).toBe(2);
  });

  it('widens several columns at once when nothing else is wrong', async () => {
    await write(server, 'widened', 'a', { x: 5, z: 6 });
    expectSuccess(await call(server, 'POST', '/v1/data', { table: 'widened', records: [fraction, { id: 'c', payload: { z: 0.25 } }] }));
    expect(
      await valueOf(server, "SELECT string_agg(id || ':' || coalesce(x, -1) || ':' || coalesce(z, -1), ' ' ORDER BY id) FROM widened"),
    ).toBe('a:5.0:6.0 b:1.5:-1.0 c:-1.0:0.25');
  });
});

describe('a refused write to a table that does not exist', () => {
  const isAbsent = async (table: string): Promise<void> => {
    expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 404);
  };

  it('makes no table when its key was used for another request', async () => {
    const headers = { 'idempotency-key': 'used-before' };
    expectSuccess(await call(server, 'POST', '/v1/data', { table: 'first_of_key', id: 'a', payload: {} }, headers));
    expectStatus(await call(server, 'POST', '/v1/data', { table: 'second_of_key', id: 'a', payload: {} }, headers), 409);
    await isAbsent('second_of_key');
  });

  it('makes no table again when it was answered before and the table is dropped', async () => {
    const headers = { 'idempotency-key': 'of-a-dropped-table' };
    const body = { table: 'dropped_since', id: 'a', payload: {} };
    expectSuccess(await call(server, 'POST', '/v1/data', body, headers));
    expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped_since?cascade=true'));
    expectSuccess(await call(server, 'POST', '/v1/data', body, headers));
    await isAbsent('dropped_since');
  });

  it('makes no table when a stream has no record that fits', async () => {
    const client = connectGrpc(server);
    try {
      const { call: stream, answer } = client.upload('StreamWrite');
      stream.end({ table: 'of_a_stream', records: [{ id: 'not an\x7fid', payload: structOf({}) }] });
      const response = await responseOf(answer);
      expect([response.success, Number(response.records_count), response.errors]).toEqual([
        false,
        0,
        [expect.stringMatching(/^record 0: id/)],
      ]);
      await isAbsent('of_a_stream');
    } finally {
      client.close();
    }
  });
});

describe('changes of settings at once', () => {
  it('all count', async () => {
    await createTable(server, 'patched');
    const settings = [{ retention_days: 7 }, { buffer_size: 1234 }, { properties: { owner: 'me' } }, { flush_interval_seconds: 11 }];
    const answers = await Promise.all(settings.map((config) => call(server, 'PATCH', '/v1/tables/patched', { config })));
    answers.forEach((answer) => expectSuccess(answer));
    expect((await tableInfo(server, 'patched')).config).toMatchObject(Object.assign({}, ...settings) as object);
  });
});
