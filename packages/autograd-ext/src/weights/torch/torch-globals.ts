// The names that a torch file may contain, and their meaning. This is an allow-list: a file with any other name is
// refused. No name is looked up in a program, and no function that a file names is called.
import { table } from '../../outside/record.js';
import { Placeholder, type PickleMeaning } from './pickle.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';
import { TorchStorage, TorchTensor } from './torch-tensor.js';

/** An allowed class or function, whose result is computed here without calling it. */
class AllowedCallable {
  constructor(
    readonly name: string,
    readonly result: (args: readonly unknown[]) => unknown,
  ) {}
}

/** A storage class such as `torch.FloatStorage`. */
class StorageType {
  constructor(readonly dtype: string | undefined) {}
}

/** A dtype such as `torch.float32`, under the name of safetensors. */
class Dtype {
  constructor(readonly name: string) {}
}

/** The allow-list of torch files. Persistent ids are storages. Any other name throws an error that quotes it. */
export const torchMeaning: PickleMeaning = {
  global: (name) => {
    const value = GLOBALS.get(name);
    if (value) return value;
    throw new TorchFileError(
      `the pickle got the name '${name.slice(0, 200)}', ` +
        "expected only torch's tensors, storages and dtypes, and OrderedDict.",
      ADVICE.saveTrusted,
    );
  },
  call: (callee, args) => {
    if (callee instanceof Placeholder) return callee;
    if (callee instanceof AllowedCallable && Array.isArray(args)) return callee.result(args);
    throw new TorchFileError(
      `the pickle got a call of ${describe(callee)} with ${describe(args)}, expected an allowed function with a tuple.`,
      ADVICE.saveTrusted,
    );
  },
  persistent: (id) => {
    const [kind, type, key, , length, view] = Array.isArray(id) ? (id as unknown[]) : [];
    if (kind !== 'storage' || !(type instanceof StorageType) || !isStorageKey(key) || !isCount(length))
      throw new TorchFileError(
        `the pickle's persistent id got ${describe(id)}, expected ('storage', storage type, key, device, length).`,
      );
    if (view !== undefined && view !== null)
      throw new TorchFileError(
        'the file holds a storage that is a view of another, as torch 0.3 wrote.',
        'Save it again with a newer torch.',
      );
    return new TorchStorage(`${key}`, type.dtype, length);
  },
};

function rebuildTensor(args: readonly unknown[]): TorchTensor {
  const [storage, offset, shape, strides] = args;
  const storageDtype = storage instanceof TorchStorage ? storage.dtype : undefined;
  const dtype = args[6] instanceof Dtype ? args[6].name : storageDtype; // only _rebuild_tensor_v3 names a dtype
  if (
    storage instanceof TorchStorage &&
    dtype &&
    isCount(offset) &&
    isCounts(shape) &&
    isCounts(strides) &&
    shape.length === strides.length
  )
    return new TorchTensor(storage, dtype, offset, shape, strides);
  throw new TorchFileError(
    `the pickle got a tensor of ${describe(args)}, expected (storage, offset, shape, strides of the same length).`,
  );
}

/** Returns the tensor of a parameter. */
function rebuildParameter([tensor]: readonly unknown[]): unknown {
  if (tensor instanceof TorchTensor || tensor instanceof Placeholder) return tensor;
  throw new TorchFileError(`the pickle got a parameter of ${describe(tensor)}, expected a tensor.`);
}

/** Returns the tensor of a tensor with attributes. */
function rebuildFromType([rebuild, , args]: readonly unknown[]): unknown {
  if (REBUILDS.includes(rebuild as AllowedCallable) && Array.isArray(args))
    return (rebuild as AllowedCallable).result(args);
  throw new TorchFileError(
    `the pickle got a tensor made by ${describe(rebuild)}, ` +
      `expected one of ${REBUILDS.map(({ name }) => name).join(', ')}.`,
  );
}

function orderedDict([pairs = []]: readonly unknown[]): Map<unknown, unknown> {
  const isPair = (pair: unknown): pair is [unknown, unknown] => Array.isArray(pair) && pair.length === 2;
  if (Array.isArray(pairs) && pairs.every(isPair)) return new Map(pairs);
  throw new TorchFileError(`the pickle got an OrderedDict of ${describe(pairs)}, expected pairs.`);
}

function size([sizes = []]: readonly unknown[]): readonly number[] {
  if (isCounts(sizes)) return sizes;
  throw new TorchFileError(`the pickle got a torch.Size of ${describe(sizes)}, expected whole numbers.`);
}

const REBUILDS = ['_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_tensor_v3'].map(
  (name) => new AllowedCallable(`torch._utils.${name}`, rebuildTensor),
);
const ALLOWED = [
  ...REBUILDS,
  new AllowedCallable('torch._utils._rebuild_parameter', rebuildParameter),
  new AllowedCallable('torch._utils._rebuild_parameter_with_state', rebuildParameter),
  new AllowedCallable('torch._tensor._rebuild_from_type_v2', rebuildFromType),
  new AllowedCallable('collections.OrderedDict', orderedDict),
  new AllowedCallable('torch.Size', size),
];

// Names of values in checkpoints that are not weights: bytes and sets, hyper-parameters, numpy's scalars, the keys of
// Lightning's callbacks. Their values are left out.
const IGNORED = [
  '_codecs.encode',
  'argparse.Namespace',
  'collections.Counter',
  'numpy._core.multiarray.scalar',
  'numpy.core.multiarray.scalar',
  'numpy.dtype',
  'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint',
  'torch.Tensor',
  'torch.device',
  'torch.nn.parameter.Parameter',
  ...['bytearray', 'complex', 'set'].flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
];

const STORAGES = table<string>({
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  ComplexFloatStorage: 'C64',
});

const DTYPES = table<string>({
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  bool: 'BOOL',
  complex64: 'C64',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
  float8_e4m3fnuz: 'F8_E4M3FNUZ',
  float8_e5m2fnuz: 'F8_E5M2FNUZ',
});

const GLOBALS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ...ALLOWED.map((callable) => [callable.name, callable] as const),
  ...IGNORED.map((name) => [name, new Placeholder(name)] as const),
  ...Object.entries(DTYPES).map(([name, dtype]) => [`torch.${name}`, new Dtype(dtype)] as const),
  ...Object.entries(STORAGES).flatMap(([name, dtype]) =>
    ['torch', 'torch.cuda'].map((module) => [`${module}.${name}`, new StorageType(dtype)] as const),
  ),
  ['torch.storage.UntypedStorage', new StorageType(undefined)],
]);

// torch itself allows fewer dimensions.
const MAX_RANK = 64;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= MAX_RANK && value.every(isCount);
const isStorageKey = (value: unknown): value is string | number | bigint =>
  ['string', 'number', 'bigint'].includes(typeof value);

/** Describes a value in a few words, since it may be as deep or as long as the file. */
function describe(value: unknown): string {
  if (Array.isArray(value))
    return `(${value.slice(0, 6).map(describeItem).join(', ')}${value.length > 6 ? ', …' : ''})`;
  return describeItem(value);
}

function describeItem(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'string') return `'${value.slice(0, 40)}'`;
  if (typeof value !== 'object') return `${value as number}`;
  if (value instanceof AllowedCallable || value instanceof Placeholder) return value.name;
  if (Array.isArray(value)) return isCounts(value) ? `(${value.join(', ')})` : `a list of ${value.length}`;
  return `a ${value.constructor.name}`;
}
