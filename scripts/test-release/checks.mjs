/** Counts what passed, what failed and what could not be tried, and says so as it goes. */
const MS_PER_SECOND = 1_000;

export class Checks {
  #counts;
  #part;

  constructor(counts = { passed: 0, failures: [], notRun: [] }, part = '') {
    this.#counts = counts;
    this.#part = part;
  }

  /** The same counts; names begin with the part. */
  in(part) {
    return new Checks(this.#counts, `${part}: `);
  }

  /**
   * @param {string} name what holds when it passes
   * @param {() => Promise<string | void>} body gives the figures to print
   * @returns {Promise<boolean>} whether it passed, for checks that need it
   */
  async run(name, body) {
    const startedAt = performance.now();
    const seconds = () => `${((performance.now() - startedAt) / MS_PER_SECOND).toFixed(1)} s`;
    try {
      const figures = await body();
      this.#counts.passed += 1;
      process.stdout.write(`ok      ${this.#part}${name}  (${[seconds(), figures].filter(Boolean).join(', ')})\n`);
      return true;
    } catch (error) {
      this.#counts.failures.push(`${this.#part}${name}: ${error.message}`);
      process.stdout.write(`FAILED  ${this.#part}${name}  (${seconds()})\n${error.stack}\n`);
      return false;
    }
  }

  notRun(name, reason) {
    this.#counts.notRun.push(`${this.#part}${name}: ${reason}`);
    process.stdout.write(`not run ${this.#part}${name}: ${reason}\n`);
  }

  /** The end of the log, where it is read first. */
  print() {
    const { passed, failures, notRun } = this.#counts;
    for (const line of notRun) process.stdout.write(`not run: ${line}\n`);
    for (const line of failures) process.stdout.write(`failed: ${line}\n`);
    process.stdout.write(`${passed} passed, ${failures.length} failed\n`);
    if (failures.length > 0 || passed === 0) process.exitCode = 1;
  }
}

/** @throws Error that names both values when they differ */
export function expectEqual(actual, expected, what) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: expected ${right}, got ${left}`);
}

export function expectTrue(holds, what) {
  if (!holds) throw new Error(what);
}

/** @throws Error when the body does not fail with a message that has the text */
export function expectRefusal(text, body) {
  let message = '';
  try {
    body();
  } catch (error) {
    message = error.message;
  }
  if (message === '') throw new Error(`a fault was not refused: "${text}" was expected`);
  if (!message.includes(text)) throw new Error(`the refusal should tell "${text}": ${message}`);
}
