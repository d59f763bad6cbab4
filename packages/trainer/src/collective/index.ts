export { acrossProcesses, ReportedByRankZero } from './across-processes.js';
export { singleProcess, type Collective } from './collective.js';
export { exchange, RankError, shared } from './exchange.js';
export { launchCommand, launched, type Launched } from './launcher.js';
export { openMpi, type OpenMpiOptions } from './open-mpi.js';
export { byRankZero, together } from './together.js';
