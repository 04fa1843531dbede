/**
 * Jest's node environment, with what the tests need besides:
 * - `instanceof Error` and the like hold for the errors that Node itself makes. Jest runs each test file in a realm of its own with its own
 *   `Error`, `RangeError` …; those that `fs`, `Buffer` or `JSON` throw come from the main one.
 * - Environment variables of a project (`testEnvironmentOptions.variables` in jest.config.mjs).
 * - What a test registers for its failure (`onTestFailed`) and a file for its end (`atEndOfTestFile`), see test/support/expectations.ts and
 *   test/servers/cleaner.ts. A worker runs many files, so nothing may wait for the end of the process.
 */
import { TestEnvironment } from 'jest-environment-node';

const ERRORS = ['Error', 'RangeError', 'TypeError', 'SyntaxError', 'ReferenceError', 'EvalError', 'URIError', 'AggregateError'];
const TEST_FAILED = Symbol.for('miniodb.onTestFailed');
const END_OF_FILE = Symbol.for('miniodb.atEndOfTestFile');

// Jest's cache installs `signal-exit`, which ends the process on SIGXFSZ unless somebody else listens; Node ignores that signal.
process.on('SIGXFSZ', () => undefined);
/** A worker that has lost its test runner is of no use to anyone. */
const endWithRunner = () => process.exit(1);

export default class Environment extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    for (const name of ERRORS) shareInstanceOf(this.global[name], globalThis[name]);
    Object.assign(this.global.process.env, config.projectConfig.testEnvironmentOptions.variables);
    // Only while a file runs: the listener keeps the process alive.
    process.once('disconnect', endWithRunner);
    this.global[TEST_FAILED] = [];
    this.global[END_OF_FILE] = [];
  }

  async handleTestEvent(event) {
    if (event.name === 'test_start') this.global[TEST_FAILED].length = 0;
    if (event.name === 'test_done' && event.test.errors.length > 0) for (const act of this.global[TEST_FAILED]) await act();
  }

  async teardown() {
    process.removeListener('disconnect', endWithRunner);
    for (const act of this.global[END_OF_FILE] ?? []) await act();
    await super.teardown();
  }
}

/** `x instanceof inner` holds for what is of `outer`, too; classes that extend `inner` keep the usual rule. */
function shareInstanceOf(inner, outer) {
  const usual = Function.prototype[Symbol.hasInstance];
  Object.defineProperty(inner, Symbol.hasInstance, {
    configurable: true,
    value(value) {
      return usual.call(this, value) || (this === inner && usual.call(outer, value));
    },
  });
}
