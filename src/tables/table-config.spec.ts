import { describe, expect, it } from '@jest/globals';
import { type IdRule, idRuleOf } from './id-rule.js';
import { defaultTableConfig, mergeTableConfig, withSettings } from './table-config.js';

const DEFAULTS = defaultTableConfig(1, 1);

function ruleWith(pattern: string): IdRule {
  return idRuleOf({ ...DEFAULTS, id_validation: { pattern } });
}

describe('the rule of ids', () => {
  it.each([
    ['((a+))+', 27],
    ['(?:(?:a|aa))+', 60],
    ['[a-z]*'.repeat(6), 130],
    ['(a*)*b|(a|a?)+', 200],
    ['(?:a?){255}', 255],
    ['(a|b)*a(a|b){200}', 1_000],
  ])('%s is answered at once for an id that does not fit', (pattern, length) => {
    const rule = ruleWith(pattern);
    expect(rule.refusal).toBeUndefined();
    const startedMs = performance.now();
    expect(rule.fits(`${'a'.repeat(length)}!`)).toBe(false);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  it.each([
    ['^[a-z0-9-]+$', 'a-1', 'A'],
    ['[a-z]{1,255}', 'x'.repeat(255), 'x'.repeat(256)],
    ['(?<letters>[a-z]+)\\d{2}', 'ab12', 'ab1'],
    ['\\u0061\\u{62}', 'ab', 'u0061b'],
    ['\\p{Lu}\\p{Ll}+', 'Ärger', 'ärger'],
    ['.{2}\\/[\\-]', 'äö/-', 'ä/-'],
    ['a|b', 'b', 'ab'],
  ])('%s goes on meaning what it meant', (pattern, good, bad) => {
    const rule = ruleWith(pattern);
    expect([rule.fits(good), rule.fits(bad)]).toEqual([true, false]);
    const before = new RegExp(`^(?:${pattern})$`, 'u');
    expect([before.test(good), before.test(bad)]).toEqual([true, false]);
  });

  it.each([
    ['(a)\\1', /backreference/],
    ['(?<x>a)\\k<x>', /backreference/],
    ['(?=a)b', /Perl syntax|\(\?=/],
    ['(?<!a)b', /\(\?<!/],
    ['([', /expression/],
    ['\\Qa\\E', /expression/],
    ['\\w{0,1000}'.repeat(45), /too large/],
  ])('%s is refused with the reason when it is set', (pattern, reason) => {
    expect(() => mergeTableConfig(DEFAULTS, { id_validation: { pattern } })).toThrow(reason);
    expect(() => mergeTableConfig(DEFAULTS, { id_validation: { pattern } })).toThrow(/config\.id_validation cannot be used/);
  });

  it('of a table that has one that cannot be used lets nothing in, and does not keep the table from being read or configured', () => {
    const stored = withSettings(DEFAULTS, { id_validation: { pattern: '(?=a)a' } });
    const rule = idRuleOf(stored);
    expect(rule.fits('a')).toBe(false);
    expect(rule.refusal).toMatch(/\(\?=/);
    expect(mergeTableConfig(stored, { retention_days: 3 })).toMatchObject({ retention_days: 3 });
    expect(mergeTableConfig(stored, { id_validation: { pattern: 'a+' } }).id_validation).toEqual({ pattern: 'a+' });
  });
});
