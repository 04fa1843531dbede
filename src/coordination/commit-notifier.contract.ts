/** What every commit notifier does, run against each: the one of a single node, and those that several nodes share. */
import { beforeEach, describe, expect, it } from '@jest/globals';
import { waitFor } from '../../test/support/expectations.js';
import type { Commit, CommitNotifier } from './commit-notifier.js';

/** @param open gives a notifier without subscribers */
export function commitNotifierContract(label: string, open: () => Promise<CommitNotifier>): void {
  describe(`${label} as a commit notifier`, () => {
    let notifier: CommitNotifier;
    beforeEach(async () => {
      notifier = await open();
    });

    const listen = (): { readonly commits: readonly Commit[]; readonly end: () => void } => {
      const commits: Commit[] = [];
      return { commits, end: notifier.subscribe((commit) => commits.push(commit)) };
    };

    const first: Commit = { tableId: 't', version: 1 };
    const second: Commit = { tableId: 'u', version: 7 };

    it('tells every subscriber of every commit, in order', async () => {
      const [one, other] = [listen(), listen()];
      notifier.publish(first);
      notifier.publish(second);
      await waitFor(() => {
        expect(one.commits).toEqual([first, second]);
        expect(other.commits).toEqual([first, second]);
      });
    });

    it('tells nothing of before a subscription, nor after its end', async () => {
      notifier.publish(first);
      const [ended, staying] = [listen(), listen()];
      ended.end();
      ended.end();
      notifier.publish(second);
      await waitFor(() => expect(staying.commits).toEqual([second]));
      expect(ended.commits).toEqual([]);
    });

    it('does not mind a commit that nobody listens to', () => {
      expect(() => notifier.publish(first)).not.toThrow();
    });

    it('does not mind a subscriber that leaves while it is told', async () => {
      const seen: number[] = [];
      const end = notifier.subscribe((commit) => {
        seen.push(commit.version);
        end();
      });
      const staying = listen();
      notifier.publish(first);
      notifier.publish(second);
      await waitFor(() => expect(staying.commits).toEqual([first, second]));
      expect(seen).toEqual([1]);
    });
  });
}
