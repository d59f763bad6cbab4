import {
  avgPool,
  backend_util,
  div,
  engine,
  maxPool,
  ones,
  pad as padTensor,
  slice,
  tidy,
  type NamedAttrMap,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { explicitPadding } from '../geometry/explicit-padding.js';
import type { PoolAttrs } from '../geometry/pool-windows.js';
import { addKernel } from '../registry/add-kernel.js';
import { wrapKernel } from '../registry/wrap-kernel.js';

type Inputs = Record<string, Tensor4D>;
type Pads = [number, number][];

/**
 * Adds explicit padding to pools on TensorFlow, which tfjs-node refuses: pads the image, then pools without padding.
 * Pixels of the padding are no part of a mean. Adds the gradients for every padding and rounding on the backends that
 * compute outside this thread's memory: tfjs's are wrong beside the border on WebGL and WebGPU.
 */
export function correctPools(): void {
  padPool('MaxPool', ({ x }, attrs, pads) => maxPool(padTensor(x!, pads, -Infinity), ...windowsOf(attrs)));
  padPool('AvgPool', ({ x }, attrs, pads) =>
    div(avgPool(padTensor(x!, pads), ...windowsOf(attrs)), share(x!, attrs, pads)),
  );
  addGradient('MaxPool', ({ dy, x }, attrs, pads) => {
    const input = padTensor(x!, pads, -Infinity);
    return inner(run('MaxPoolGrad', { dy, input, output: maxPool(input, ...windowsOf(attrs)) }, attrs), x!, pads);
  });
  addGradient('AvgPool', ({ dy, x }, attrs, pads) => {
    const scaled = div(dy!, share(x!, attrs, pads));
    return inner(run('AvgPoolGrad', { dy: scaled, input: padTensor(x!, pads) }, attrs), x!, pads);
  });
}

type Padded = (inputs: Inputs, attrs: PoolAttrs, pads: Pads) => Tensor;

const padPool = (name: string, padded: Padded): void =>
  wrapKernel(name, 'tensorflow', (call, original) => {
    const [inputs, attrs] = [call.inputs as Inputs, call.attrs as unknown as PoolAttrs];
    if (typeof attrs.pad === 'string') return original(call);
    return tidy(() => padded(inputs, attrs, padsOf(name, inputs['x']!, attrs)));
  });

/** Adds the kernel under the name that the corrected gradient of the pool looks for. */
function addGradient(pool: string, padded: Padded): void {
  for (const backendName of ['tensorflow', 'webgl', 'webgpu'])
    addKernel<PoolAttrs>(`${pool}InputGrad`, backendName, (inputs, attrs) =>
      padded(inputs as Inputs, attrs, padsOf(pool, inputs['x'] as Tensor4D, attrs)),
    );
}

function padsOf(name: string, { shape }: Tensor4D, { filterSize, strides, pad, dimRoundingMode }: PoolAttrs): Pads {
  const info = backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
  return [[0, 0], ...explicitPadding(name, info), [0, 0]];
}

const windowsOf = ({ filterSize, strides }: PoolAttrs) => [filterSize, strides, 'valid'] as const;

/** The part of each window that lies inside the image. */
const share = (x: Tensor4D, attrs: PoolAttrs, pads: Pads) =>
  avgPool(padTensor(ones([1, x.shape[1], x.shape[2], 1]), pads) as Tensor4D, ...windowsOf(attrs));

const run = (name: string, inputs: Record<string, Tensor | undefined>, attrs: PoolAttrs) =>
  engine().runKernel(name, inputs as never, { ...attrs, pad: 'valid' } as unknown as NamedAttrMap) as Tensor;

/** Cuts off the padding. */
const inner = (dx: Tensor, { shape }: Tensor4D, pads: Pads) =>
  slice(
    dx,
    pads.map(([before]) => before),
    shape,
  );
