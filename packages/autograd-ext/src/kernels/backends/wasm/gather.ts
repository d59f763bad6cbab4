import { gather, reshape, tidy, transpose, type Tensor } from '@tensorflow/tfjs-core';
import { gatherLayout, type GatherAttrs } from '../../gradients/gather-grad.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Corrects tf.gather on wasm where batchDims is not 0: tfjs reads all examples from the slices of the first. */
export const correctBatchedGatherOnWasm = () =>
  wrapKernel('GatherV2', 'wasm', (call, original) => {
    const attrs = call.attrs as unknown as GatherAttrs;
    if (!attrs.batchDims) return original(call);
    return tidy(() => {
      const [x, indices] = [call.inputs['x'], call.inputs['indices']] as [Tensor, Tensor];
      const { batch, outer, size, count, inner, rows, shape } = gatherLayout(x.shape, indices, attrs);
      const slices = reshape(transpose(reshape(x, [batch, outer, size, inner]), [0, 2, 1, 3]), [
        batch * size,
        outer * inner,
      ]);
      const gathered = reshape(gather(slices, rows()), [batch, count, outer, inner]);
      return reshape(transpose(gathered, [0, 2, 1, 3]), shape);
    });
  });
