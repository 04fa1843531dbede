import { leaseStoreContract } from './lease.contract.js';
import { LocalLeaseStore } from './local-lease-store.js';

leaseStoreContract('LocalLeaseStore', () => {
  let nowMs = 1_000_000;
  const leases = new LocalLeaseStore({ nowMs: () => nowMs });
  const pass = (ms: number): Promise<void> => {
    nowMs += ms;
    return Promise.resolve();
  };
  return Promise.resolve({ leases, pass });
});
