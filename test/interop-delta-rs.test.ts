/**
 * delta-rs, the library under Polars, pandas and many others, reads our tables, and writes a checkpoint into one of them without asking whether it may.
 * What it reads must be what we answer; what it wrote must cost no row and no file.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pythonWith, type Python } from './support/python.js';
import { countOf, createTable, expectSuccess, flush, tableInfo, write, writeBatch } from './support/requests.js';
import { type RunningServer, call, startServer } from './support/server.js';

const VERSION = '1.6.6';
const INSTALL_MS_MAX = 600_000;
const TABLE = 'shared';
/** Nothing happens by itself; a vacuum removes what no version names from now on. */
const BY_HAND = {
  tables: { flush_interval_seconds: 86_400 },
  maintenance: { compaction: false, interval_seconds: 3_600, checkpoint_commits: 1_000, time_travel_hours: 0, orphan_age_hours: 1 / 3_600 },
};
const COUNT =
  'import sys; from deltalake import DeltaTable, QueryBuilder as Q\n' +
  't = DeltaTable(sys.argv[1]); print(Q().register("t", t).execute("SELECT count(*) AS n FROM t").read_all()["n"][0].as_py())';
const CHECKPOINT = 'import sys; from deltalake import DeltaTable\nDeltaTable(sys.argv[1]).create_checkpoint()';

let python: Python | undefined;
let server: RunningServer;

beforeAll(async () => {
  python = pythonWith('tables with delta-rs', `deltalake-${VERSION}`, [`deltalake==${VERSION}`], 'deltalake');
  server = await startServer({ config: BY_HAND, env: { STORAGE: 'local' } });
}, INSTALL_MS_MAX);

afterAll(async () => {
  await server?.stop();
});

describe('a checkpoint that delta-rs wrote', () => {
  it(
    'costs no row, no row that can be restored, and no file',
    async () => {
      if (!python) return;
      await createTable(server, TABLE);
      await writeBatch(
        server,
        TABLE,
        Array.from({ length: 200 }, (_value, index) => ({ id: `o${index}`, payload: { n: index } })),
      );
      await flush(server, TABLE);
      expectSuccess(await call(server, 'PUT', '/v1/data', { table: TABLE, id: 'o3', payload: { n: 300 } }));
      await flush(server, TABLE);
      for (const [ids, soft] of [
        [['o10'], false],
        [['o20', 'o21'], true],
      ] as const) {
        expectSuccess(await call(server, 'DELETE', '/v1/data', { table: TABLE, ids, soft_delete: soft }));
        await flush(server, TABLE);
      }
      await writeBatch(
        server,
        TABLE,
        Array.from({ length: 10 }, (_value, index) => ({ id: `p${index}`, payload: { n: index } })),
      );
      await flush(server, TABLE);
      const { location } = await tableInfo(server, TABLE);
      expect(Number(await python('-c', COUNT, location))).toBe(207);

      await python('-c', CHECKPOINT, location);
      expect(await server.stop()).toBe(0);
      server = await startServer({ config: BY_HAND, dataDir: server.dataDir, env: { STORAGE: 'local' } });
      expect(await countOf(server, TABLE)).toBe(207);
      const restored = expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: TABLE, ids: ['o20', 'o21'] }));
      expect(restored.json.restored_count).toBe(2);
      await write(server, TABLE, 'after', { n: 1 });
      await flush(server, TABLE);
      expectSuccess(await call(server, 'POST', `/v1/tables/${TABLE}/vacuum`));
      expect(await countOf(server, TABLE)).toBe(210);
      expect(Number(await python('-c', COUNT, location))).toBe(210);
    },
    INSTALL_MS_MAX,
  );
});
