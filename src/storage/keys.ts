/** Where things stand in the object store that several parts of the server read. */

/** An object for each log that was ever started on the store. */
export const LOGS_PREFIX = '_wals/';
