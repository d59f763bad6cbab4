import { matMul, reshape, tensor2d, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { bilinearSources, nearestSources, type ResizeImageAttrs, type Sources } from '../geometry/resize-sources.js';
import { addKernel } from '../registry/add-kernel.js';

/**
 * Adds the gradients of both image resizes on WebGL and WebGPU, where tfjs's ignore `halfPixelCenters`: products with
 * the transposed matrices of the resize.
 */
export function addResizeGradientsOnGpu(): void {
  for (const backendName of ['webgl', 'webgpu']) {
    addResizeGradient('ResizeBilinearInputGrad', backendName, bilinearSources);
    addResizeGradient('ResizeNearestNeighborInputGrad', backendName, nearestSources);
  }
}

type SourcesOf = (from: number, to: number, attrs: ResizeImageAttrs) => readonly Sources[];

/** @param kernelName the name that the corrected gradient of the resize looks for */
const addResizeGradient = (kernelName: string, backendName: string, sourcesOf: SourcesOf): void =>
  addKernel<ResizeImageAttrs>(kernelName, backendName, ({ dy, images }, attrs) => {
    const [batch, height, width, channels] = images!.shape as [number, number, number, number];
    const [, toHeight, toWidth] = dy!.shape as [number, number, number, number];
    const rows = transposed(sourcesOf(height, toHeight, attrs), height);
    const columns = transposed(sourcesOf(width, toWidth, attrs), width);
    const lines = product(rows, reshape(dy!, [batch, toHeight, toWidth * channels]));
    return reshape(product(columns, reshape(lines, [batch * height, toWidth, channels])), images!.shape);
  });

/** The matrix `[from, to]` that sends each resized pixel back to its sources. */
function transposed(sources: readonly Sources[], from: number): Tensor2D {
  const weights = new Float32Array(from * sources.length);
  sources.forEach((of, to) => of.forEach(([index, weight]) => (weights[index * sources.length + to]! += weight)));
  return tensor2d(weights, [from, sources.length]);
}

/** Multiplies each matrix of a batch, `[B, to, C]`, by one from the left. */
const product = (left: Tensor2D, batch: Tensor): Tensor => matMul(reshape(left, [1, ...left.shape]), batch);
