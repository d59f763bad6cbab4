import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { conv2d, geglu, gelu, groupNorm, layerNorm, linear, quickGelu, resize, scaledDotProductAttention, silu, upsampleNearest } from '../../../index.js';

/** An input of a case: its shape, and what its values are drawn from. */
export interface CaseInput {
  readonly shape: readonly number[];
  /** Normal by default; `positive` and `unit` lie in (0.3, 2) and (-0.9, 0.9), `above` in (1.1, 3); `special` has NaN and infinities. */
  readonly values?: 'positive' | 'unit' | 'above' | 'special' | readonly number[] | undefined;
  readonly dtype?: 'int32' | 'bool';
}

/** An op with inputs, to be recorded. */
export interface KernelCase {
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  readonly op: (...xs: any[]) => Tensor | readonly Tensor[];
  /** The same for tfjs's backends, where no op of tfjs asks for the kernel. */
  readonly eager?: (...xs: any[]) => Tensor;
  /** Inputs to differentiate: those of floats, unless the result is of another type or this says otherwise. */
  readonly wrt?: readonly number[];
  /** Largest error allowed, relative to the largest value. */
  readonly tolerance?: number;
  /** Of finite differences. */
  readonly step?: number;
  /** Backends of tfjs whose values are wrong or missing. */
  readonly without?: readonly ('wasm' | 'cpu')[];
}

type Options = Omit<KernelCase, 'name' | 'inputs' | 'op'>;
type Shape = readonly number[];

const float = (shape: Shape, values?: CaseInput['values']): CaseInput => ({ shape, values });
const int = (shape: Shape, values?: readonly number[]): CaseInput => ({ shape, values, dtype: 'int32' });
const bool = (shape: Shape): CaseInput => ({ shape, dtype: 'bool' });
const entry = (name: string, inputs: readonly (CaseInput | Shape)[], op: KernelCase['op'], options: Options = {}): KernelCase => ({
  name,
  inputs: inputs.map((input) => ('shape' in input ? input : float(input))),
  op,
  ...options,
});
const none = { wrt: [] };

type Unary = (x: Tensor) => Tensor;
const named = <T extends object>(functions: T) => Object.entries(functions) as [string, any][];

const unary: KernelCase[] = [
  ...named({ abs: tf.abs, atan: tf.atan, asinh: tf.asinh, cos: tf.cos, cosh: tf.cosh, elu: tf.elu, erf: tf.erf, exp: tf.exp, expm1: tf.expm1, neg: tf.neg, relu: tf.relu, selu: tf.selu, sigmoid: tf.sigmoid, sin: tf.sin, sinh: tf.sinh, softplus: tf.softplus, square: tf.square, tan: (x: Tensor) => tf.tan(tf.mul(x, 0.3)), tanh: tf.tanh, relu6: (x: Tensor) => tf.relu6(tf.mul(x, 4)), leakyRelu: (x: Tensor) => tf.leakyRelu(x as never, 0.3), clip: (x: Tensor) => tf.clipByValue(x, -0.5, 0.8), identity: tf.clone, zerosLike: (x: Tensor) => tf.add(tf.zerosLike(x), x), onesLike: (x: Tensor) => tf.mul(tf.onesLike(x), x), hardTanh: (x: Tensor) => tf.minimum(tf.maximum(x, -1), 1) }).map(([name, op]) => entry(name, [[2, 3, 5]], op as Unary, { step: 1e-2 })),
  ...named({ log: tf.log, log1p: tf.log1p, rsqrt: tf.rsqrt, sqrt: tf.sqrt, reciprocal: tf.reciprocal, pow: (x: Tensor) => tf.pow(x, 2.5) }).map(([name, op]) => entry(name, [float([3, 1, 4], 'positive')], op as Unary)),
  ...named({ acos: tf.acos, asin: tf.asin, atanh: tf.atanh }).map(([name, op]) => entry(name, [float([7], 'unit')], op as Unary, { tolerance: 5e-5 })),
  entry('acosh', [float([7], 'above')], tf.acosh, { tolerance: 5e-5 }),
  ...named({ ceil: tf.ceil, floor: tf.floor, round: (x: Tensor) => tf.round(tf.mul(x, 3)), sign: tf.sign, step: tf.step }).map(([name, op]) => entry(name, [[2, 7]], op as Unary, { step: 1e-4 })),
  entry('step with a slope', [[2, 7]], (x) => tf.step(x, 0.25)),
  entry('round, half to even', [float([8], [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.49, -3.51])], tf.round, none),
  entry('tiny values keep their digits', [float([4], [1e-6, -3e-7, 2e-5, -4e-4])], (x) => tf.stack([tf.expm1(x), tf.log1p(x)]), { tolerance: 1e-6, wrt: [], without: ['wasm'] }),
  // Its gradient reads an input that tfjs has freed.
  entry('logSigmoid', [[2, 3, 5]], (x) => tf.logSigmoid(x), none),
  entry('large values', [float([4], [30, -30, 80, -80])], (x) => tf.stack([tf.expm1(tf.neg(tf.abs(x))), tf.log1p(tf.abs(x)), tf.softplus(x), tf.sigmoid(x)]), none),
  entry('isNaN, isInf, isFinite', [float([6], 'special')], (x) => tf.stack([tf.isNaN(x), tf.isInf(x), tf.isFinite(x)]), { without: ['wasm'] }),
  entry('a function of a scalar', [[]], (x) => tf.mul(tf.exp(x), tf.sin(x))),
  entry('a function of nothing', [[0, 3]], (x) => tf.exp(x)),
  entry('prelu', [[2, 3, 4], [4]], (x, a) => tf.prelu(x, a)),
  entry('prelu, each its own', [[2, 3, 4], [3, 4]], (x, a) => tf.prelu(x, a)),
  ...named({ abs: tf.abs, neg: tf.neg, sign: tf.sign, square: tf.square, relu: tf.relu, clip: (x: Tensor) => tf.clipByValue(x, -2, 3), onesLike: tf.onesLike }).map(([name, op]) => entry(`${name} of integers`, [int([3, 5])], op as Unary, none)),
  entry('exp of integers', [int([3, 5], [-3, -2, -1, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])], (x) => tf.exp(x), none),
];

const pairs: [string, Shape, Shape][] = [['', [2, 3, 4], [2, 3, 4]], [' with a scalar', [3, 2], []], [', broadcast', [2, 1, 4], [3, 1]], [' of a row', [2, 3, 4, 5], [5]], [' to rank 5', [2, 1, 3, 1, 2], [4, 1, 3, 2]], [' with nothing', [0, 3], [3]]];
const binary: KernelCase[] = [
  ...named({ add: tf.add, sub: tf.sub, mul: tf.mul, maximum: tf.maximum, minimum: tf.minimum, squaredDifference: tf.squaredDifference }).flatMap(([name, op]) => pairs.map(([what, a, b]) => entry(`${name}${what}`, [a, b], op, { step: 5e-3 }))),
  ...pairs.slice(0, 4).flatMap(([what, a, b]) => [
    entry(`div${what}`, [a, float(b, 'positive')], tf.div),
    entry(`divNoNan${what}`, [float(a, 'positive'), float(b, 'positive')], tf.divNoNan),
    entry(`pow${what}`, [float(a, 'positive'), b], tf.pow, { step: 5e-3 }),
    entry(`atan2${what}`, [a, b], tf.atan2, { step: 2e-3, tolerance: 1e-4 }),
  ]),
  entry('atan2 on the axes', [float([8], [0, 1, 0, -1, 1, 1, -1, -1]), float([8], [1, 0, -1, 0, 1, -1, 1, -1])], tf.atan2, none),
  entry('mod', [[3, 4], float([4], 'positive')], (a, b) => tf.mod(tf.mul(a, 5), tf.add(b, 1)), { step: 1e-4, tolerance: 5e-5 }),
  entry('mod by negative numbers', [[3, 4], float([4], 'positive')], (a, b) => tf.mod(tf.mul(a, 5), tf.neg(tf.add(b, 1))), none),
  entry('floorDiv of floats', [[3, 4], float([4], 'positive')], (a, b) => tf.cast(tf.floorDiv(tf.mul(a, 5), b), 'float32'), none),
  entry('addN', [[2, 3], [2, 3], [2, 3]], (...xs) => tf.addN(xs)),
  entry('powers of negative numbers', [[7]], (x) => tf.add(tf.pow(x, 2), tf.pow(x, tf.scalar(3, 'int32')))),
  ...named({ add: tf.add, sub: tf.sub, mul: tf.mul, maximum: tf.maximum, minimum: tf.minimum, squaredDifference: tf.squaredDifference, mod: tf.mod, floorDiv: tf.floorDiv, div: tf.div, bitwiseAnd: (a: Tensor, b: Tensor) => tf.bitwiseAnd(a, tf.broadcastTo(b, a.shape)) }).map(([name, op]) =>
    entry(`${name} of integers`, [int([3, 4]), int([4], [3, -2, 5, -7])], op, none)),
  entry('integers to a power', [int([5], [-2, -1, 0, 2, 3])], (x) => tf.pow(x, tf.scalar(3, 'int32')), none),
  entry('floats and integers', [[3, 4], int([4])], (x, n) => tf.add(tf.mul(x, n), n)),
  entry('integers by zero', [int([4], [3, -2, 0, 5])], (x) => tf.floorDiv(x, tf.tensor1d([0, 2, 0, -3], 'int32')), { ...none, without: ['wasm'] }),
  entry('booleans are counted', [bool([3, 4])], (x) => tf.add(tf.sum(x, 1), tf.sum(tf.maximum(x, x), 1)), none),
];

const logic: KernelCase[] = [
  ...named({ equal: tf.equal, notEqual: tf.notEqual, greater: tf.greater, greaterEqual: tf.greaterEqual, less: tf.less, lessEqual: tf.lessEqual }).flatMap(([name, op]) => [
    entry(name, [[3, 1, 4], [2, 1]], op, none),
    entry(`${name} of integers`, [int([3, 4], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]), int([4], [1, 2, 3, 2])], op, none),
    entry(`${name} of booleans`, [bool([3, 4]), bool([4])], op, { ...none, without: ['wasm'] }),
  ]),
  ...named({ logicalAnd: tf.logicalAnd, logicalOr: tf.logicalOr, logicalXor: tf.logicalXor }).map(([name, op]) => entry(name, [bool([3, 1, 4]), bool([3, 1])], op, none)),
  entry('LogicalXor', [bool([3, 4]), bool([3, 4])], (a, b) => tf.engine().runKernel('LogicalXor', { a, b }) as Tensor, { ...none, without: ['cpu'] }),
  entry('logicalNot', [bool([5])], tf.logicalNot, none),
  entry('where', [bool([3, 4]), [3, 4], [3, 4]], tf.where),
  entry('where, broadcast', [bool([4]), [3, 1], [1, 4]], tf.where),
  entry('where of rows', [bool([3]), [3, 2, 2], [3, 2, 2]], (c, a, b) => tf.engine().runKernel('Select', { condition: c, t: a, e: b }) as Tensor, { ...none, eager: (c, a, b) => tf.where(tf.reshape(c, [3, 1, 1]), a, b) }),
  entry('where of integers', [bool([3, 4]), int([3, 4]), int([3, 4])], tf.where, none),
  entry('where of booleans', [bool([3, 4]), bool([3, 4]), bool([3, 4])], tf.where, { ...none, without: ['wasm'] }),
  entry('searchSorted', [float([2, 5], [1, 2, 3, 4, 5, -1, 0, 0, 2, 7]), float([2, 3], [3, 0, 9, 0, -2, 1.5])], (s, v) => tf.stack([tf.searchSorted(s, v), tf.searchSorted(s, v, 'right')]), none),
  entry('cast to integers', [[3, 4]], (x) => tf.cast(tf.mul(x, 5), 'int32'), none),
  entry('cast to booleans', [float([4], [0, -1, 0.5, 0])], (x) => tf.cast(x, 'bool'), { ...none, without: ['wasm'] }),
  entry('cast of integers', [int([4], [0, -1, 2, 0])], (x) => tf.stack([tf.cast(x, 'float32'), tf.cast(tf.cast(x, 'bool'), 'float32')]), { ...none, without: ['wasm'] }),
  entry('cast of booleans', [bool([4])], (x) => tf.add(tf.cast(x, 'float32'), tf.cast(tf.cast(x, 'int32'), 'float32')), none),
  entry('values that decide', [[3, 4]], (x) => tf.where(tf.greater(x, 0.3), tf.mul(x, x), tf.neg(x)), { step: 2e-3 }),
];

const axes: [string, Shape, number | number[] | undefined, boolean][] = [['', [2, 3, 4], undefined, false], [' of rows', [2, 3, 4], -1, false], [' of columns, kept', [2, 3, 4], [1], true], [' of images', [2, 3, 4, 5], [1, 2], false], [' of one', [3, 1], 1, false], [' of a scalar', [], undefined, false], [' of no axes', [2, 3], [], false]];
const reductions: KernelCase[] = [
  ...named({ sum: tf.sum, mean: tf.mean, max: tf.max, min: tf.min, prod: tf.prod, logSumExp: tf.logSumExp }).flatMap(([name, op]) =>
    axes.filter(([what]) => what !== ' of no axes' || name === 'sum').map(([what, shape, axis, keep]) => entry(`${name}${what}`, [shape], (x) => op(x, axis, keep), { step: 2e-3 }))),
  ...named({ sum: tf.sum, mean: tf.mean, max: tf.max, min: tf.min, prod: tf.prod, cumsum: tf.cumsum, cumprod: (x: Tensor) => tf.cumprod(x, 1) }).map(([name, op]) => entry(`${name} of integers`, [int([2, 3, 2])], (x) => op(x, 1), none)),
  entry('sum of nothing', [[3, 0]], (x) => tf.sum(x, 1)),
  entry('sum and all of booleans', [bool([3, 4])], (x) => tf.sum(x, 1), none),
  entry('norms', [[3, 4]], (x) => tf.add(tf.norm(x, 'euclidean', 1), tf.norm(x, 1, 1))),
  entry('moments', [[3, 4, 2]], (x) => { const { mean, variance } = tf.moments(x, [0, 1]); return tf.add(mean, variance); }),
  entry('all', [bool([3, 2, 4])], (x) => tf.all(x, 1), none),
  entry('any', [bool([3, 2, 4])], (x) => tf.any(x, [0, 2], true), none),
  entry('argMax', [[3, 4, 2]], (x) => [tf.argMax(x, 1), tf.argMax(x, -1), tf.argMin(x)], none),
  entry('argMax of equal values', [float([2, 4], [1, 3, 3, 0, 2, 2, 1, 2])], (x) => [tf.argMax(x, 1), tf.argMin(x, 1)], none),
  entry('softmax', [[2, 3, 5]], (x) => tf.softmax(x)),
  entry('softmax of a row', [[7]], (x) => tf.softmax(x)),
  entry('logSoftmax', [[2, 3, 5]], (x) => tf.logSoftmax(x)),
  entry('LogSoftmax of columns', [[2, 3, 5]], (x) => tf.engine().runKernel('LogSoftmax', { logits: x }, { axis: 1 }) as Tensor, { ...none, eager: (x) => tf.sub(x, tf.logSumExp(x, 1, true)) }),
  entry('Softmax of columns', [[2, 3, 5]], (x) => tf.engine().runKernel('Softmax', { logits: x }, { dim: 1 }) as Tensor, { ...none, eager: (x) => tf.exp(tf.sub(x, tf.logSumExp(x, 1, true))) }),
  entry('cumsum', [[3, 4]], (x) => tf.cumsum(x, 1)),
  entry('cumsum of columns, exclusive, backwards', [[3, 4, 2]], (x) => tf.cumsum(x, 1, true, true)),
  entry('cumprod', [[3, 5]], (x) => tf.cumprod(x, 1), none),
  entry('cumprod of columns, exclusive, backwards', [[5, 2]], (x) => tf.cumprod(x, 0, true, true), none),
  entry('bincount', [int([7], [0, 2, 2, 5, 1, 2, 9])], (x) => tf.bincount(x, tf.tensor1d([]), 6), none),
  entry('bincount, weighted', [int([4], [0, 2, 2, 5]), [4]], (x, w) => tf.bincount(x, w, 6), none),
  entry('denseBincount', [int([2, 4], [0, 2, 2, 3, 1, 1, 1, 4])], (x) => tf.stack([tf.denseBincount(x, tf.tensor2d([], [0, 0]) as never, 4), tf.denseBincount(x, tf.tensor2d([], [0, 0]) as never, 4, true)]), none),
];

const shapes: KernelCase[] = [
  entry('reshape', [[2, 3, 4]], (x) => tf.reshape(x, [4, -1])),
  entry('expandDims and squeeze', [[2, 1, 4]], (x) => tf.squeeze(tf.expandDims(tf.expandDims(x, -1), 0), [2])),
  entry('transpose', [[2, 3, 4, 5]], (x) => tf.transpose(x, [2, 0, 3, 1])),
  entry('transpose of rank 5', [[2, 1, 3, 2, 2]], (x) => tf.transpose(x, [4, 2, 0, 1, 3])),
  entry('transposed twice, reshaped between', [[2, 3, 4]], (x) => tf.transpose(tf.reshape(tf.transpose(x, [0, 2, 1]), [2, 2, 2, 3]), [3, 0, 1, 2])),
  entry('concat', [[2, 1, 3], [2, 4, 3], [2, 2, 3]], (...xs) => tf.concat(xs, 1)),
  entry('concat with nothing', [[2, 0], [2, 3]], (...xs) => tf.concat(xs, 1), { wrt: [1] }),
  entry('concat of integers and booleans', [int([2]), int([3]), bool([2]), bool([1])], (a, b, c, d) => [tf.concat([a, b]), tf.concat([c, d])], none),
  entry('stack', [[2, 3], [2, 3]], (...xs) => tf.stack(xs, -1)),
  entry('unstack', [[2, 3, 4]], (x) => { const [a, b, c] = tf.unstack(x, 1) as [Tensor, Tensor, Tensor]; return tf.add(tf.mul(a, b), c); }),
  entry('split', [[2, 7]], (x) => { const [a, b, c] = tf.split(x, [2, 3, 2], 1) as [Tensor, Tensor, Tensor]; return tf.mul(tf.sum(b), tf.mul(a, c)); }),
  entry('slice', [[3, 4, 5]], (x) => tf.slice(x, [1, 0, 2], [2, -1, 2])),
  entry('slice of nothing', [[3, 4]], (x) => tf.slice(x, [1, 2], [0, 2])),
  entry('pad', [[2, 3]], (x) => tf.pad(x, [[1, 0], [2, 3]], 0.5)),
  entry('pad of integers', [int([3])], (x) => tf.pad(x, [[1, 2]], 7), none),
  entry('reverse', [[2, 3, 4]], (x) => tf.reverse(x, [0, -1])),
  entry('flipLeftRight', [[2, 3, 4, 2]], (x) => tf.image.flipLeftRight(x), none),
  entry('tile', [[2, 3]], (x) => tf.tile(x, [3, 2])),
  entry('broadcastTo', [[3, 1]], (x) => tf.broadcastTo(x, [2, 3, 4])),
  entry('BroadcastTo', [[3, 1]], (x) => tf.engine().runKernel('BroadcastTo', { x }, { shape: [2, 3, 4], inputShape: [3, 1] }) as Tensor, { ...none, eager: (x) => tf.broadcastTo(x, [2, 3, 4]) }),
  entry('fill, range and linspace', [[3, 4]], (x) => tf.add(tf.add(x, tf.fill([3, 1], 2)), tf.add(tf.range(0, 4), tf.linspace(-1, 2, 4)))),
  entry('ranges of integers', [int([4])], (x) => tf.add(x, tf.range(7, -1, -2, 'int32')), none),
  entry('diag', [[2, 2]], (x) => tf.diag(tf.reshape(x, [4])), none),
  entry('eye and bandPart', [[3, 4]], (x) => tf.add(tf.linalg.bandPart(x, 1, 1), tf.eye(3, 4))),
  entry('meshgrid', [[3], [2]], (x, y) => { const [a, b] = tf.meshgrid(x, y) as [Tensor, Tensor]; return tf.mul(a, b); }),
  entry('BroadcastArgs', [int([3], [2, 1, 5]), int([2], [4, 1])], (a, b) => tf.broadcastArgs(a, b), none),
  entry('stridedSlice', [[7, 5, 4]], (x) => tf.stridedSlice(x, [1, 0, 1], [7, 5, 3], [2, 3, 1])),
  entry('stridedSlice, backwards', [[7, 5]], (x) => tf.stridedSlice(x, [-1, 3], [0, 0], [-2, -1])),
  entry('stridedSlice, backwards to the start', [[6, 5]], (x) => tf.stridedSlice(x, [5, 3], [0, 0], [-2, -1], 0, 0b11)),
  entry('stridedSlice, masked', [[4, 5, 6]], (x) => tf.stridedSlice(x, [1, 0, 9, 2], [3, 0, 9, 5], [1, 1, 1, 2], 0b1, 0b1, 0b10, 0b100, 0)),
  entry('stridedSlice, shrunk', [[4, 5, 6]], (x) => tf.stridedSlice(x, [1, 2, 0], [2, 3, 6], [1, 1, 2], 0, 0, 0, 0, 0b10)),
  entry('mirrorPad, reflected', [[2, 4, 5]], (x) => tf.mirrorPad(x, [[1, 0], [2, 3], [0, 4]], 'reflect')),
  entry('mirrorPad, symmetric', [[1, 4, 5]], (x) => tf.mirrorPad(x, [[1, 1], [2, 4], [0, 1]], 'symmetric')),
  entry('depthToSpace', [[2, 3, 2, 12]], (x) => tf.depthToSpace(x, 2)),
  entry('spaceToBatchND', [[2, 3, 4, 2]], (x) => tf.spaceToBatchND(x, [2, 3], [[1, 0], [0, 2]])),
  entry('batchToSpaceND', [[12, 2, 2, 1]], (x) => tf.batchToSpaceND(x, [2, 3], [[1, 0], [0, 2]])),
];

const indexed: KernelCase[] = [
  entry('gather', [[4, 3, 2], int([3], [2, 0, 2])], (x, i) => tf.gather(x, i)),
  entry('gather of a matrix of indices', [[3, 4, 2], int([2, 3], [1, 3, 1, 0, 1, 2])], (x, i) => tf.gather(x, i, 1)),
  entry('gather in batches', [[2, 4, 3], int([2, 3], [1, 1, 0, 3, 2, 1])], (x, i) => tf.gather(x, i, 1, 1)),
  entry('gather in batches, last axis', [[2, 3, 4], int([2, 2], [1, 1, 3, 2])], (x, i) => tf.gather(x, i, -1, 1)),
  entry('gather of integers', [int([4, 3]), int([3], [2, 0, 2])], (x, i) => tf.gather(x, i), none),
  entry('gatherND', [[3, 4, 2], int([5, 2], [0, 1, 2, 3, 2, 3, 1, 0, 0, 0])], (x, i) => tf.gatherND(x, i), none),
  entry('scatterND', [int([4, 1], [1, 3, 1, 0]), [4, 2]], (i, x) => tf.scatterND(i, x, [5, 2]), none),
  entry('tensorScatterUpdate', [[5, 2], int([2, 1], [3, 0]), [2, 2]], (x, i, y) => tf.tensorScatterUpdate(x, i, y), none),
  entry('sparseToDense', [int([3, 2], [0, 1, 2, 3, 1, 0]), [3]], (i, x) => tf.sparseToDense(i, x, [3, 4], 0.5), none),
  entry('sparseToDense of one value', [int([2], [3, 1])], (i) => tf.sparseToDense(i, tf.scalar(2), [5], 0), none),
  entry('unsortedSegmentSum', [[5, 3], int([5], [2, 0, 2, 3, 0])], (x, i) => tf.unsortedSegmentSum(x, i, 5)),
  entry('unsortedSegmentSum of rows without a segment', [[5, 3], int([5], [2, -1, 2, 3, 0])], (x, i) => tf.unsortedSegmentSum(x, i, 3), none),
  entry('oneHot', [int([2, 3], [0, 2, 1, 3, 2, 0])], (i) => tf.oneHot(i, 4), none),
  entry('oneHot of no class', [int([3], [-1, 2, 4])], (i) => tf.oneHot(i, 4, 0.9, 0.1), none),
  entry('oneHot, multiplied', [int([3], [1, 0, 2]), [3, 4]], (i, x) => tf.mul(tf.oneHot(i, 4), x)),
  entry('topk', [[3, 2, 7]], (x) => { const { values, indices } = tf.topk(x, 3); return [values, indices]; }),
  entry('topk of equal values', [float([6], [1, 3, 3, 0, 3, 2])], (x) => [tf.topk(x, 4).indices, tf.topk(x, 6).values], none),
  entry('dropout that is seeded', [[40]], (x) => tf.dropout(x, 0.5, undefined, 7)),
];

const matrices: KernelCase[] = [
  entry('matMul', [[3, 4], [4, 5]], (a, b) => tf.matMul(a, b)),
  entry('matMul of transposes', [[4, 3], [5, 4]], (a, b) => tf.matMul(a, b, true, true)),
  entry('matMul of rows and columns', [[1, 4], [4, 1]], (a, b) => tf.matMul(a, b)),
  entry('matMul of batches', [[2, 3, 4], [2, 4, 5]], (a, b) => tf.matMul(a, b)),
  entry('matMul, batches broadcast', [[2, 5, 3, 4], [1, 1, 4, 2]], (a, b) => tf.matMul(a, b)),
  entry('matMul of batches with one matrix, transposed', [[2, 4, 3], [1, 5, 4]], (a, b) => tf.matMul(a, b, true, true)),
  entry('matMul over nothing', [[3, 0], [0, 2]], (a, b) => tf.matMul(a, b), { without: ['wasm'] }),
  entry('matMul of integers', [int([3, 4]), int([4, 2])], (a, b) => tf.matMul(a, b), { ...none, without: ['wasm'] }),
  entry('dot', [[4], [4, 3]], (a, b) => tf.dot(a, b)),
  entry('outerProduct', [[4], [3]], (a, b) => tf.outerProduct(a, b)),
  entry('einsum of batches', [[2, 3, 4, 5], [2, 6, 4, 5]], (a, b) => tf.einsum('bqhc,bkhc->bhqk', a, b)),
  entry('einsum with sums in one operand', [[2, 3, 4], [5, 2]], (a, b) => tf.einsum('abc,da->bd', a, b)),
  entry('einsum, inner', [[3, 4], [4, 3]], (a, b) => tf.einsum('ij,ji->', a, b)),
  entry('einsum of one operand', [[2, 3, 4]], (a) => tf.einsum('abc->ca', a)),
  ...(['relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'linear'] as const).map((activation) =>
    entry(`fused matMul, ${activation}`, [[3, 4], [4, 5], [5]], (a, b, bias) => tf.fused.matMul({ a, b, bias, activation, leakyreluAlpha: 0.3 }), { step: 2e-3, ...(['sigmoid', 'leakyrelu'].includes(activation) && none) })),
  entry('fused matMul, prelu', [[3, 4], [4, 5], [5], [1, 5]], (a, b, bias, preluActivationWeights) => tf.fused.matMul({ a, b, bias, activation: 'prelu', preluActivationWeights }), none),
];

const convolutions: KernelCase[] = [
  entry('tf.conv2d', [[2, 5, 4, 3], [3, 3, 3, 2]], (x, f) => tf.conv2d(x, f, 1, 'same')),
  entry('tf.conv2d, strided', [[2, 6, 5, 3], [3, 2, 3, 2]], (x, f) => tf.conv2d(x, f, [2, 1], 'valid')),
  entry('tf.conv2d, strided, same', [[1, 6, 5, 2], [3, 3, 2, 4]], (x, f) => tf.conv2d(x, f, 2, 'same')),
  entry('tf.conv2d, strided beyond the filter', [[1, 7, 8, 2], [2, 2, 2, 3]], (x, f) => tf.conv2d(x, f, 3, 'valid')),
  entry('tf.conv2d, padded edge by edge', [[1, 4, 5, 2], [2, 3, 2, 3]], (x, f) => tf.conv2d(x, f, 1, [[0, 0], [1, 0], [0, 2], [0, 0]])),
  entry('tf.conv2d, padded by a number', [[1, 5, 5, 2], [3, 3, 2, 3]], (x, f) => tf.conv2d(x, f, 1, 1)),
  entry('tf.conv2d, dilated', [[1, 6, 7, 2], [3, 2, 2, 3]], (x, f) => tf.conv2d(x, f, 1, 'same', 'NHWC', 2), none),
  entry('tf.conv2d, channels first', [[1, 2, 5, 4], [3, 3, 2, 3]], (x, f) => tf.conv2d(x, f, 1, 'same', 'NCHW'), { ...none, without: ['wasm'] }),
  entry('tf.conv2d 1x1', [[2, 3, 2, 4], [1, 1, 4, 3]], (x, f) => tf.conv2d(x, f, 1, 'valid')),
  entry('tf.conv1d', [[2, 7, 3], [3, 3, 2]], (x, f) => tf.conv1d(x, f, 2, 'same')),
  entry('tf.conv2dTranspose', [[2, 3, 2, 3], [3, 3, 2, 3]], (x, f) => tf.conv2dTranspose(x, f, [2, 6, 4, 2], 2, 'same')),
  entry('tf.conv3d', [[1, 4, 5, 3, 2], [2, 3, 2, 2, 3]], (x, f) => tf.conv3d(x, f, 1, 'same'), { without: ['wasm'] }),
  entry('tf.conv3d, strided', [[2, 5, 5, 4, 2], [2, 3, 2, 2, 2]], (x, f) => tf.conv3d(x, f, 2, 'valid'), { without: ['wasm'] }),
  entry('tf.depthwiseConv2d', [[2, 4, 5, 3], [3, 3, 3, 1]], (x, f) => tf.depthwiseConv2d(x, f, 1, 'same')),
  entry('tf.depthwiseConv2d, strided, two a channel', [[2, 6, 7, 3], [3, 2, 3, 2]], (x, f) => tf.depthwiseConv2d(x, f, 2, 'valid')),
  entry('tf.depthwiseConv2d, strided, padded', [[1, 7, 6, 2], [3, 3, 2, 1]], (x, f) => tf.depthwiseConv2d(x, f, 2, 1)),
  entry('tf.depthwiseConv2d of one channel', [[1, 4, 5, 1], [3, 2, 1, 2]], (x, f) => tf.depthwiseConv2d(x, f, 1, 'same')),
  entry('tf.separableConv2d', [[1, 4, 5, 2], [3, 3, 2, 2], [1, 1, 4, 3]], (x, d, p) => tf.separableConv2d(x, d, p, 1, 'same')),
  ...(['relu', 'relu6', 'elu', 'linear'] as const).flatMap((activation) => [
    entry(`fused conv2d, ${activation}`, [[1, 4, 5, 2], [3, 3, 2, 3], [3]], (x, filter, bias) => tf.fused.conv2d({ x, filter, bias, strides: 1, pad: 'same', activation }), { step: 1e-3, tolerance: 1e-4 }),
    entry(`fused depthwiseConv2d, ${activation}`, [[1, 4, 5, 2], [3, 2, 2, 2], [4]], (x, filter, bias) => tf.fused.depthwiseConv2d({ x, filter, bias, strides: 1, pad: 'same', activation }), { step: 1e-3, tolerance: 1e-4 }),
  ]),
  entry('fused conv2d, prelu', [[1, 4, 5, 2], [3, 3, 2, 3], [3], [1, 1, 3]], (x, filter, bias, preluActivationWeights) => tf.fused.conv2d({ x, filter, bias, strides: 2, pad: 'same', activation: 'prelu', preluActivationWeights }), none),
  entry('dilation2d', [[2, 5, 4, 3], [2, 3, 3]], (x, f) => tf.dilation2d(x, f, 1, 'same'), { step: 1e-3, without: ['wasm'] }),
  entry('dilation2d, strided, dilated', [[1, 7, 8, 2], [3, 2, 2]], (x, f) => tf.dilation2d(x, f, [2, 1], 'valid', [1, 2]), { step: 1e-3, without: ['wasm'] }),
];

const pools: KernelCase[] = [
  ...named({ maxPool: tf.maxPool, avgPool: tf.avgPool }).flatMap(([name, pool]) => [
    entry(name, [[2, 6, 4, 3]], (x) => pool(x, 2, 2, 'valid'), { step: 1e-3 }),
    entry(`${name} with a border`, [[2, 5, 4, 2]], (x) => pool(x, 3, 2, 'same'), { step: 1e-3 }),
    entry(`${name}, overlapping, padded`, [[1, 5, 5, 1]], (x) => pool(x, 3, 1, 1), { step: 1e-3 }),
    entry(`${name}, rest left over`, [[1, 8, 6, 2]], (x) => pool(x, [3, 2], [3, 4], 'valid'), { step: 1e-3 }),
    entry(`${name}, rounded up`, [[1, 6, 7, 2]], (x) => pool(x, 3, 2, 1, 'ceil'), { step: 1e-3, without: ['wasm'] }),
  ]),
  entry('maxPool of negative values', [[2, 5, 4, 2]], (x) => tf.maxPool(tf.neg(tf.mul(x, x)) as never, 3, 2, 'same'), { step: 1e-3 }),
  entry('pool, dilated', [[1, 7, 6, 2]], (x) => tf.pool(x, [2, 2], 'avg', 'valid', [2, 2])),
  entry('maxPool3d', [[1, 4, 5, 3, 2]], (x) => tf.maxPool3d(x, 2, 2, 'same'), { step: 1e-3 }),
  entry('avgPool3d', [[2, 4, 4, 2, 2]], (x) => tf.avgPool3d(x, 2, 2, 'valid')),
  entry('batchNorm', [[2, 3, 2, 4], [4], float([4], 'positive'), [4], [4]], (x, m, v, o, s) => tf.batchNorm(x, m, v, o, s)),
  entry('batchNorm without scale and offset', [[2, 3, 2, 4], [4], float([4], 'positive')], (x, m, v) => tf.batchNorm(x, m, v)),
  entry('batchNorm of rows', [[3, 4], [4], float([4], 'positive'), [4]], (x, m, v, o) => tf.batchNorm(x, m, v, o, undefined, 1e-2)),
  entry('localResponseNormalization', [[2, 3, 2, 5]], (x) => tf.localResponseNormalization(x, 1, 1, 0.5, 0.7)),
  entry('resizeBilinear', [[2, 3, 4, 2]], (x) => tf.image.resizeBilinear(x, [5, 7])),
  entry('resizeBilinear, aligned corners', [[2, 3, 4, 2]], (x) => tf.image.resizeBilinear(x, [5, 2], true)),
  entry('resizeBilinear, half pixels', [[2, 7, 3, 2]], (x) => tf.image.resizeBilinear(x, [3, 5], false, true)),
  entry('resizeNearestNeighbor', [[2, 3, 4, 2]], (x) => tf.image.resizeNearestNeighbor(x, [6, 3])),
  entry('resizeNearestNeighbor, aligned corners', [[2, 3, 4, 2]], (x) => tf.image.resizeNearestNeighbor(x, [5, 2], true)),
  entry('resizeNearestNeighbor, half pixels', [[2, 3, 4, 2]], (x) => tf.image.resizeNearestNeighbor(x, [5, 3], false, true)),
  entry('cropAndResize', [[2, 5, 6, 3], float([3, 4], [0.11, 0.13, 0.87, 0.92, -0.2, 0.1, 1.13, 0.7, 0.9, 0.8, 0.1, 0.31]), int([3], [1, 0, 1])], (x, b, i) => tf.image.cropAndResize(x, b, i, [4, 3]), { wrt: [0] }),
  entry('cropAndResize of boxes that move', [[2, 5, 6, 3], [3, 4], int([3], [1, 0, 1])], (x, b, i) => tf.image.cropAndResize(x, tf.add(tf.tensor1d([0.11, 0.13, 0.87, 0.92]), tf.mul(b, 0.02)), i, [4, 3])),
  entry('cropAndResize to one pixel, filled outside', [[1, 5, 6, 2], float([2, 4], [0.1, 0.2, 0.7, 0.9, 1.2, 0, 1.4, 1]), int([2], [0, 0])], (x, b, i) => tf.image.cropAndResize(x, b, i, [1, 1], 'bilinear', 0.7), { wrt: [0] }),
  entry('cropAndResize, nearest', [[2, 5, 6, 3], float([2, 4], [0.1, 0.2, 0.9, 0.87, -0.2, 0.1, 1.1, 0.72]), int([2], [1, 0])], (x, b, i) => tf.image.cropAndResize(x, b, i, [4, 3], 'nearest'), { wrt: [0] }),
  entry('cropAndResize of boxes that move, nearest', [[1, 5, 6, 3], float([1, 4], [0.1, 0.2, 0.9, 0.87]), int([1], [0])], (x, b, i) => tf.add(tf.sum(tf.image.cropAndResize(x, b, i, [4, 3], 'nearest')), tf.sum(b)), { step: 1e-4 }),
];

const ours: KernelCase[] = [
  entry('linear', [[2, 3, 5], [7, 5], [7]], linear),
  entry('linear of one row and channel', [[1, 1], [3, 1]], linear),
  entry('conv2d 3x3', [[2, 5, 4, 3], [6, 3, 3, 3], [6]], (x, w, b) => conv2d(x, w, b, { padding: 1 })),
  entry('conv2d stride 2', [[2, 6, 5, 3], [4, 3, 3, 3], [4]], (x, w, b) => conv2d(x, w, b, { stride: 2, padding: 1 })),
  entry('conv2d stride 2, even, uneven border', [[2, 6, 4, 2], [3, 2, 3, 3], [3]], (x, w, b) => conv2d(x, w, b, { stride: 2, padding: [0, 1, 0, 1] })),
  entry('conv2d of patches', [[2, 7, 8, 3], [4, 3, 3, 3]], (x, w) => conv2d(x, w, undefined, { stride: 3 })),
  entry('conv2d of a rectangle', [[1, 5, 7, 2], [2, 2, 1, 4], [2]], (x, w, b) => conv2d(x, w, b, { padding: [0, 0, 1, 2] })),
  entry('conv2d 1x1', [[2, 3, 2, 4], [5, 4, 1, 1], [5]], (x, w, b) => conv2d(x, w, b)),
  entry('conv2d 1x1 stride 2', [[2, 3, 5, 4], [5, 4, 1, 1]], (x, w) => conv2d(x, w, undefined, { stride: 2 })),
  entry('groupNorm', [[2, 3, 4, 6], [6], [6]], (x, w, b) => groupNorm(x, w, b, { groups: 3, eps: 1e-5 }), { tolerance: 1e-4 }),
  entry('groupNorm of single channels', [[1, 1, 7, 4], [4], [4]], (x, w, b) => groupNorm(x, w, b, { groups: 4, eps: 1e-5 }), { tolerance: 1e-4 }),
  entry('layerNorm', [[2, 3, 7], [7], [7]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 }), { tolerance: 1e-4 }),
  entry('silu', [[2, 3, 5]], silu),
  entry('gelu', [[2, 3, 5]], gelu),
  entry('quickGelu', [[2, 3, 5]], quickGelu),
  entry('geglu', [[2, 3, 10]], geglu),
  entry('attention', [[2, 5, 6], [2, 3, 6], [2, 3, 6]], (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 })),
  entry('attention, causal', [[2, 5, 4], [2, 5, 4], [2, 5, 4]], (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2, causal: true })),
  entry('attention of one head, scaled', [[1, 3, 5], [1, 7, 5], [1, 7, 5]], (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 1, scale: 0.7 })),
  entry('attention to one key', [[2, 3, 3], [2, 1, 3], [2, 1, 3]], (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 3 })),
  entry('resize bilinear', [[2, 5, 7, 3]], (x) => resize(x, [3, 9], { mode: 'bilinear' })),
  entry('resize bicubic', [[2, 6, 4, 1]], (x) => resize(x, [4, 7], { mode: 'bicubic' })),
  entry('upsampleNearest x2', [[2, 3, 4, 3]], (x) => upsampleNearest(x, [6, 8])),
  entry('upsampleNearest to an odd size', [[2, 3, 4, 2]], (x) => upsampleNearest(x, [5, 7])),
];

/** Every op of tfjs and of ours, with odd shapes, batches and axes of length 1. */
export const kernelCases: readonly KernelCase[] = [...unary, ...binary, ...logic, ...reductions, ...shapes, ...indexed, ...matrices, ...convolutions, ...pools, ...ours];
