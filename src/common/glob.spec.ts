import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import picomatch from 'picomatch';
import { globExpression, globFilter } from './glob.js';

const NAMES = ['', 'a', 'b', 'ab', 'ba', 'abc', 'aab', 'A', 'user', 'users', 'user_1', 'log_2024', 'sensor_data_2024', 'x'.repeat(64)];

describe('a glob', () => {
  it.each([
    ['user*', ['user', 'users', 'user_1']],
    ['USER?', ['users']],
    ['[ab]', ['a', 'b', 'A']],
    ['[!a]', ['b']],
    ['[^a]', ['b']],
    ['[a-b]b', ['ab']],
    ['{user,log}_*', ['user_1', 'log_2024']],
    ['user{,s}', ['user', 'users']],
    ['user_{1..3}', ['user_1']],
    ['{a,b{a,}}', ['a', 'b', 'ba', 'A']],
    ['+(a|b)', ['a', 'b', 'ab', 'ba', 'aab', 'A']],
    ['?(*)_data_?(*)', ['sensor_data_2024']],
    ['!(user*|log*|x*)', ['', 'a', 'b', 'ab', 'ba', 'abc', 'aab', 'A', 'sensor_data_2024']],
    ['{a', []],
    ['{a}', []],
    ['[', []],
    ['a(', []],
    ['a.', []],
    ['\\a', ['a', 'A']],
  ])('%s fits %j', (glob, expected) => {
    expect(NAMES.filter(globFilter(glob))).toEqual(expected);
  });

  it('means what it meant to the library that went back in its text', () => {
    const piece = fc.constantFrom('a', 'b', '*', '?', '[ab]', '[^a]', '[a-b]', '{a,b}', '{ab,}', '{a,*b}', '_');
    const glob = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''));
    const name = fc.string({ unit: fc.constantFrom('a', 'b', 'A', '_', 'c'), minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(glob, fc.array(name, { minLength: 10, maxLength: 10 }), (text, names) => {
        expect({ text, fits: names.filter(globFilter(text)) }).toEqual({
          text,
          fits: names.filter((candidate) => picomatch(text, { nocase: true, nonegate: true })(candidate)),
        });
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(['a!(b)', '[z-a]', '!(a)!(b)'])('%s is refused with what is supported', (glob) => {
    expect(() => globFilter(glob)).toThrow(/the pattern .* cannot be used: .*supported: \* \?/);
  });

  it.each([`${'?(*)'.repeat(50)}Z`, `${'?(a)'.repeat(60)}b`, `${'*a'.repeat(100)}b`, `${'*(a|aa)'.repeat(30)}b`, '*(*(*(*(a))))b'])(
    '%s is answered at once',
    (glob) => {
      const name = 'a'.repeat(64);
      const startedMs = performance.now();
      expect(globFilter(glob)(name)).toBe(false);
      expect(performance.now() - startedMs).toBeLessThan(2_000);
    },
  );

  it('without groups takes braces and parentheses for themselves', () => {
    expect(globExpression('a{b,c}(*', false)).toBe('a\\{b,c\\}\\(.*');
  });
});
