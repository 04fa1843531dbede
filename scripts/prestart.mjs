/** Run by npm before `npm start`: on a fresh clone it installs and builds, afterwards it only looks. */
import { prepare } from './prepare.mjs';

prepare();
