export { acrossProcesses, ReportedByRankZero } from './across-processes.js';
export { singleProcess, type Collective } from './collective.js';
export { exchange, shared } from './exchange.js';
export { launched, type Launched } from './launcher.js';
export { openMpi, type OpenMpiOptions } from './open-mpi.js';
