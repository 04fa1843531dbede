/**
 * Globs, as clients write them for names and keys: `*`, `?`, `[ab]`, `[!ab]`, `{a,b}`, `{1..3}` and `?(a|b)`, `*(…)`, `+(…)`, `@(…)`.
 *
 * They become expressions of RE2, which never goes back in its text: a glob of a client runs on the one thread that serves everybody, and an engine that
 * tries one way after the other can take hours for 40 characters. `!(a|b)` is known as the whole of a glob only; inside of one RE2 cannot have it.
 */
import { RE2JS } from 're2js';
import { invalidArgument, messageOf } from './app-error.js';

const OPENERS: Readonly<Record<string, string>> = { '[': ']', '{': '}', '(': ')' };
/** What stands before a group says how often it may come. */
const REPEATS: Readonly<Record<string, string>> = { '?': '?', '*': '*', '+': '+', '@': '' };
const CHARACTER_RANGE = /^\w\.\.\w$/;
const WHOLE_NEGATION = /^!\((.*)\)$/s;

/** @returns a test for names that ignores case. @throws AppError INVALID_ARGUMENT for a glob that cannot be used */
export function globFilter(glob: string): (text: string) => boolean {
  const [, refused] = WHOLE_NEGATION.exec(glob) ?? [];
  if (refused !== undefined && closesAtEnd(glob)) {
    const fits = globFilter(`@(${refused})`);
    return (text) => !fits(text);
  }
  if (glob.includes('!(')) throw refusal(glob, '!( ) must stand around the whole of it');
  try {
    const expression = RE2JS.compile(globExpression(glob), RE2JS.CASE_INSENSITIVE | RE2JS.DOTALL);
    return (text) => expression.matches(text);
  } catch (error) {
    throw refusal(glob, messageOf(error));
  }
}

function refusal(glob: string, reason: string): Error {
  return invalidArgument(`the pattern ${JSON.stringify(glob.slice(0, 100))} cannot be used: ${reason}; supported: * ? [ab] [!ab] {a,b}`);
}

function closesAtEnd(glob: string): boolean {
  return partsOf(glob, true).get(1) === glob.length - 1;
}

/**
 * @param hasGroups whether braces and parentheses mean alternatives; otherwise they stand for themselves
 * @returns an expression in the syntax of RE2 that fits the whole of a text
 */
export function globExpression(glob: string, hasGroups = true): string {
  const partners = partsOf(glob, hasGroups);
  /** What each open group ends with, and what tells its alternatives apart. */
  const open: { readonly end: number; readonly close: string; readonly separator: string }[] = [];
  let expression = '';
  for (let at = 0; at < glob.length; at += 1) {
    const character = glob.charAt(at);
    const group = open.at(-1);
    const partner = partners.get(at);
    const next = partners.get(at + 1);
    if (at === group?.end) {
      expression += group.close;
      open.pop();
    } else if (next !== undefined && glob.charAt(at + 1) === '(' && character in REPEATS) {
      expression += '(?:';
      open.push({ end: next, close: `)${REPEATS[character] ?? ''}`, separator: '|' });
      at += 1;
    } else if (partner !== undefined && character === '[') {
      expression += characterClass(glob.slice(at + 1, partner));
      at = partner;
    } else if (partner !== undefined && character === '{' && CHARACTER_RANGE.test(glob.slice(at + 1, partner))) {
      expression += characterClass(glob.slice(at + 1, partner).replace('..', '-'));
      at = partner;
    } else if (partner !== undefined) {
      expression += '(?:';
      open.push({ end: partner, close: ')', separator: character === '{' ? ',' : '|' });
    } else if (character === group?.separator) expression += '|';
    else if (character === '*') expression += expression.endsWith('.*') ? '' : '.*';
    else if (character === '?') expression += '.';
    else if (character === '\\' && at + 1 < glob.length) expression += RE2JS.quote(glob.charAt((at += 1)));
    else expression += RE2JS.quote(character);
  }
  return expression;
}

/** Where each bracket that has an end ends; braces without alternatives are none. */
function partsOf(glob: string, hasGroups: boolean): ReadonlyMap<number, number> {
  const partners = new Map<number, number>();
  const open: { readonly at: number; readonly closer: string; hasComma: boolean }[] = [];
  for (let at = 0; at < glob.length; at += 1) {
    const character = glob.charAt(at);
    const group = open.at(-1);
    if (character === '\\') at += 1;
    else if (character === '[') {
      const end = endOfClass(glob, at);
      if (end !== undefined) partners.set(at, (at = end));
    } else if (!hasGroups) continue;
    else if (OPENERS[character]) open.push({ at, closer: OPENERS[character], hasComma: false });
    else if (character === ',' && group) group.hasComma = true;
    else if (character === group?.closer) {
      open.pop();
      if (character === ')' || group.hasComma || CHARACTER_RANGE.test(glob.slice(group.at + 1, at))) partners.set(group.at, at);
    }
  }
  return partners;
}

/** Where a character class ends. A `]` that comes first in the class is one of its characters, not its end. */
function endOfClass(glob: string, start: number): number | undefined {
  const first = /[!^]/.test(glob.charAt(start + 1)) ? start + 2 : start + 1;
  for (let at = first; at < glob.length; at += 1) {
    if (glob.charAt(at) === '\\') at += 1;
    else if (glob.charAt(at) === ']' && at > first) return at;
  }
  return undefined;
}

function characterClass(content: string): string {
  const isNegated = /^[!^]/.test(content);
  const members = [...(isNegated ? content.slice(1) : content).replace(/\\(.)/gs, '$1')];
  return `[${isNegated ? '^' : ''}${members.map((member) => (/[\\[\]^&]/.test(member) ? `\\${member}` : member)).join('')}]`;
}
