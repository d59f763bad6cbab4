export { readBody } from './body.js';
export { excerpt, excerptJson, excerptList, printable } from './excerpt.js';
export { parseJson } from './json.js';
export { MAX_DEPTH, record, table, tooDeep, withoutPrototypes } from './record.js';
export { isMasked, maskSecrets, rememberSecret, splitCredentials } from './secrets.js';
