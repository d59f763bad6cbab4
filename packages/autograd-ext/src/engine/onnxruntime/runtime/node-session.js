const arrays = {
  float32: Float32Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/**
 * Plain JavaScript, so that Node runs it in a process of its own from the sources too. The types and the documentation
 * are in node-session.d.ts.
 */
export async function startNodeSession(
  runtime,
  { model, outputs },
  { device, threads, profile, relayout = false },
  worthCollecting = 2 ** 28,
) {
  // ONNX Runtime ignores devices that it was not built with, and runs on the CPU.
  const supported = runtime.listSupportedBackends().map(({ name }) => name);
  if (!supported.includes(device))
    throw new Error(`device got '${device}', expected one that onnxruntime-node has here: ${supported.join(', ')}.`);
  const session = await runtime.InferenceSession.create(model, {
    executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
    graphOptimizationLevel: relayout ? 'all' : 'extended',
    // An arena never returns memory, and the memory pattern allocates on top of it. A process of its own gets large
    // blocks from the system just as fast, in large pages.
    enableMemPattern: false,
    enableCpuMemArena: false,
    ...(threads && { intraOpNumThreads: threads }),
    ...(profile && { enableProfiling: true, profileFilePrefix: profile }),
    logSeverityLevel: 3,
    // Weights may be anywhere on the disk, and are mapped from their files. Prepacked copies would double their memory.
    extra: {
      session: { model_external_initializers_file_folder_path: '/', disable_prepacking: '1' },
      ...(!relayout && { optimization: { disable_specified_optimizers: 'ConstantFolding' } }),
    },
  });
  return {
    inputNames: session.inputNames,
    async run(feeds, into = []) {
      const inputs = session.inputNames.map((name) => [name, toRuntime(runtime, feeds[name])]);
      const returned = outputs.slice(0, outputs.length - into.length).map((value) => allocate(runtime, value));
      const fetches = [...returned, ...into];
      await session.run(
        Object.fromEntries(inputs),
        Object.fromEntries(fetches.map((tensor, i) => [session.outputNames[i], tensor])),
      );
      if (fetches.reduce((bytes, { data }) => bytes + data.byteLength, 0) >= worthCollecting) await collectGarbage();
      return returned.map(({ data }) => data);
    },
    allocateOutputs: (first) => allocateTogether(runtime, outputs.slice(first)),
    async release() {
      if (profile) session.endProfiling();
      await session.release();
    },
  };
}

function toRuntime({ Tensor }, value) {
  return value instanceof Tensor ? value : new Tensor(value.dtype, value.data, value.shape);
}

/**
 * Frees the copies of outputs that ONNX Runtime's Node binding makes even if it is given buffers. They are small on
 * JavaScript's heap, so the garbage collector would let several of them accumulate.
 */
export async function collectGarbage() {
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([import('node:v8'), import('node:vm')]);
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

/**
 * Allocates tensors that outlive a run in one block: many small ones would lie between those of the run, which malloc
 * could then not return to the system.
 */
function allocateTogether(runtime, values) {
  const starts = [0];
  for (const { shape, dtype } of values)
    starts.push(starts.at(-1) + Math.ceil((count(shape) * arrays[dtype].BYTES_PER_ELEMENT) / 64) * 64);
  const memory = new ArrayBuffer(starts.at(-1));
  return values.map((value, i) => allocate(runtime, value, memory, starts[i]));
}

const count = (shape) => shape.reduce((product, size) => product * size, 1);

function allocate({ Tensor }, { shape, dtype }, memory, start) {
  const data = memory ? new arrays[dtype](memory, start, count(shape)) : new arrays[dtype](count(shape));
  const tensor = new Tensor(dtype, data, shape);
  // From Node 24 on, the class wraps the memory in a Float16Array, which the binding rejects.
  return dtype === 'float16' ? Object.assign(tensor, { cpuData: data }) : tensor;
}
