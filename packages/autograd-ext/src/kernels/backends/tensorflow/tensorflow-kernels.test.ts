import { describe, expect, it } from 'vitest';
import { hasTensorflow } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';
import { differenceFromCpu, kernelCases } from '../../../engine/onnxruntime/__fixtures__/kernel-results.js';
import { TfjsEngine } from '../../../engine/tfjs.js';

describe.skipIf(!hasTensorflow)('kernels on tensorflow', () => {
  const tensorflow = { engine: new TfjsEngine(), start: () => useBackend('tensorflow') };
  it.each(kernelCases.filter(({ without }) => !without?.includes('tensorflow')))(
    'agree with cpu in values and gradients: $name',
    async (kernelCase) => {
      expect(await differenceFromCpu(kernelCase, tensorflow)).toBe('');
    },
  );
});
