import { describe, it } from 'vitest';
import { hasTensorflow } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';
import {
  compare,
  kernelCases,
  layouts,
  prepared,
  run,
} from '../../../engine/onnxruntime/__fixtures__/kernel-results.js';
import { TfjsEngine } from '../../../engine/tfjs.js';

describe.skipIf(!hasTensorflow)('kernels on tensorflow', () => {
  const engine = new TfjsEngine();
  it.each(kernelCases.filter(({ without }) => !without?.includes('tensorflow')))(
    'agree with cpu in values and gradients: $name',
    async (kernelCase) => {
      const { fn, wrt, make } = prepared({ ...kernelCase, op: kernelCase.eager ?? kernelCase.op }, layouts[0]!);
      await useBackend('tensorflow');
      const actual = await run(engine, fn, make(), wrt);
      await useBackend(kernelCase.without?.includes('cpu') ? 'wasm' : 'cpu');
      const expected = await run(engine, fn, make(), wrt);
      compare(actual, expected, kernelCase.tolerance ?? 2e-5, 'cpu', 0.1);
    },
  );
});
