/** The function of the engine that macros ask before they make a value: it runs here, on the event loop, once for up to 2,048 rows. */
import { BIGINT, BOOLEAN, DOUBLE, type DuckDBConnection, DuckDBScalarFunction } from '@duckdb/node-api';
import { AppError } from '../../common/app-error.js';
import { ALLOW } from './amplifiers.js';
import { type MemoryWatch, outOfMemory } from './memory-watch.js';

/** Limit for one call (up to 2,048 rows); about one second. */
const STEPS_MAX = 1_000_000_000;

/** @param queryOf the query that a connection runs, by the connection's number */
export function registerAllow(
  connection: DuckDBConnection,
  watch: MemoryWatch,
  queryOf: (connection: number) => Stoppable | undefined,
): void {
  connection.registerScalarFunction(
    DuckDBScalarFunction.create({
      name: ALLOW,
      parameterTypes: [BIGINT, DOUBLE, DOUBLE],
      returnType: BOOLEAN,
      // Or the engine would work it out once, while it plans.
      volatile: true,
      mainFunction: (_info, input, output) => {
        const [connections, bytes, steps] = [0, 1, 2].map((column) => input.getColumnVector(column));
        let wantedBytes = 0;
        let wantedSteps = 0;
        for (let row = 0; row < input.rowCount; row += 1) {
          wantedBytes += Math.max(0, Number(bytes?.getItem(row) ?? 0));
          wantedSteps += Math.max(0, Number(steps?.getItem(row) ?? 0));
          output.setItem(row, true);
        }
        output.flush();
        const query = queryOf(Number(connections?.getItem(0) ?? 0));
        if (query?.stoppedWith) throw query.stoppedWith;
        const refusal =
          wantedBytes > watch.roomBytes ? outOfMemory(wantedBytes) : wantedSteps > STEPS_MAX ? tooLong(wantedSteps) : undefined;
        if (!refusal) return;
        query?.stop(refusal);
        throw refusal;
      },
    }),
  );
}

function tooLong(steps: number): AppError {
  return new AppError(
    'RESOURCE_EXHAUSTED',
    `a function in the query compares texts that are too long (${steps} steps for about 2,000 rows, at most ${STEPS_MAX}); compare shorter texts, or only their beginnings`,
  );
}

export interface Stoppable {
  readonly stoppedWith: AppError | undefined;
  stop(reason: AppError): void;
}
