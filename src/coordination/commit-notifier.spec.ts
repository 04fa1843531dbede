import { LocalCommitNotifier } from './commit-notifier.js';
import { commitNotifierContract } from './commit-notifier.contract.js';

commitNotifierContract('LocalCommitNotifier', () => Promise.resolve(new LocalCommitNotifier()));
