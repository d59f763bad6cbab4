import { packageConfig } from '../../tsup.config.base.js';

export default packageConfig({
  entry: ['src/index.ts', 'src/weights/index.ts', 'src/outside/index.ts', 'src/testing/index.ts'],
  programs: { 'session-host': 'src/engine/onnxruntime/runtime/session-host.js' },
  browser: true,
});
