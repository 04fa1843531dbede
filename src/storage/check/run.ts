/**
 * Trying out whether a place for objects is fit for the server: checks that run one after the other, each with a verdict and, where that is not "ok",
 * with what it means for the server and what to do about it. `npm run check-storage` prints them.
 */
import { messageOf } from '../../common/app-error.js';

/** `LACKING`: the server can do without, at a price that is named. `FAILED`: it cannot. `skipped`: not tried, for the reason given. */
export type Outcome =
  | { readonly verdict: 'ok' | 'skipped'; readonly seen: string }
  | { readonly verdict: 'LACKING' | 'FAILED'; readonly seen: string; readonly meaning: string; readonly remedy?: string };

export type Finding = Outcome & { readonly name: string };

export interface StorageCheck {
  readonly name: string;
  /** What the server would suffer without it: the meaning of a check that ends in an error. */
  readonly meaning: string;
  /** After its failure no other check makes sense. */
  readonly isFoundation?: boolean;
  /** @throws whatever the store throws; that is FAILED */
  run(signal: AbortSignal): Promise<Outcome>;
}

/** Everything that is tried on one place, and what must be done when that is over, in whatever way. */
export interface StorageTrial {
  /** For people: which place. */
  readonly title: string;
  readonly checks: readonly StorageCheck[];
  /** What to do about an error; undefined when its message says that already. */
  remedyOf(error: unknown): string | undefined;
  /** Removes all that the checks made. @throws Error that names what is left */
  cleanUp(): Promise<void>;
}

export const ok = (seen: string): Outcome => ({ verdict: 'ok', seen });

/**
 * Runs the checks of a trial and cleans up.
 * @param report is told of each finding at once
 * @param signal ends the trial before its next check, or within a long one; the clean-up takes place all the same
 */
export async function runTrial(trial: StorageTrial, report: (finding: Finding) => void, signal: AbortSignal): Promise<Finding[]> {
  const findings: Finding[] = [];
  const note = (name: string, outcome: Outcome): void => {
    const finding = { name, ...outcome };
    findings.push(finding);
    report(finding);
  };
  for (const check of trial.checks) {
    const outcome = await outcomeOf(trial, check, signal);
    if (outcome === undefined) break;
    note(check.name, outcome);
    if (check.isFoundation && outcome.verdict === 'FAILED') break;
  }
  try {
    await trial.cleanUp();
  } catch (error) {
    note('clean-up', {
      verdict: 'FAILED',
      seen: messageOf(error),
      meaning: 'the objects that the checks created take up space, and the server does not remove them',
    });
  }
  return findings;
}

/** @returns undefined when the trial was interrupted */
async function outcomeOf(trial: StorageTrial, check: StorageCheck, signal: AbortSignal): Promise<Outcome | undefined> {
  if (signal.aborted) return undefined;
  try {
    return await check.run(signal);
  } catch (error) {
    if (signal.aborted) return undefined;
    const remedy = trial.remedyOf(error);
    return { verdict: 'FAILED', seen: messageOf(error), meaning: check.meaning, ...(remedy === undefined ? {} : { remedy }) };
  }
}

/** The failure below an error of a store: its answer, or what the system says. */
export function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? error.cause : error;
}
