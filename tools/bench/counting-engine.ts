import type { Compiled, CompiledVjp, Engine, SavedForward, Params } from '@alignprop/autograd-ext';

/** Calls of the UNet, counted per row of the batch: an image, or one of the two rows of a guided one. */
export interface UNetCalls {
  forward: number;
  backward: number;
}

/** Wraps an engine to count the calls of its pipeline's UNet. */
export function countingEngine(engine: Engine): { engine: Engine; calls: UNetCalls } {
  const calls: UNetCalls = { forward: 0, backward: 0 };
  const count = (params: Params, inputs: readonly { shape: number[] }[], kinds: readonly (keyof UNetCalls)[]) => {
    // inputs[2] are the text embeddings, one row a prediction
    if ('time_embedding' in params) for (const kind of kinds) calls[kind] += inputs[2]!.shape[0]!;
  };
  const compile =
    (run: Compiled): Compiled =>
    (params, ...inputs) => (count(params, inputs, ['forward']), run(params, ...inputs));
  const compileVjp = (run: CompiledVjp): CompiledVjp =>
    Object.assign(
      ((params, inputs, dy) => (
        count(params, inputs, ['forward', 'backward']),
        run(params, inputs, dy)
      )) as CompiledVjp,
      {
        async forward(params: Params, inputs: Parameters<CompiledVjp>[1]): Promise<SavedForward | undefined> {
          const saved = await run.forward?.(params, inputs);
          if (!saved) return undefined;
          count(params, inputs, ['forward']);
          return {
            ...saved,
            backward: (dy) => (count(params, inputs, ['backward']), saved.backward(dy)),
            release: () => saved.release(),
          };
        },
      },
    );
  const counting: Engine = {
    name: engine.name,
    device: engine.device,
    records: engine.records,
    precision: engine.precision,
    compile: (fn) => compile(engine.compile(fn)),
    compileVjp: (fn, options) => compileVjp(engine.compileVjp(fn, options)),
    dispose: () => engine.dispose(),
  };
  return { engine: counting, calls };
}
