import * as nodeModule from 'node:module';

/**
 * Packages of which a process needs exactly one copy: they register kernels, gradients and backends. The files of users
 * get the command's own copy of them, wherever they lie and whether or not the package is installed there.
 */
const shared = /^(?:@alignprop\/(?:autograd-ext|diffusion|lora|rewards|trainer)|@tensorflow\/tfjs-core)(?:\/|$)/;

interface Hooks {
  /** Since Node 22.15: hooks of `import` and `require` that run in this thread. */
  registerHooks?(hooks: { resolve: Resolve }): unknown;
  register(module: string, options: { data: unknown }): void;
}

type Resolve = (specifier: string, context: object, next: (specifier: string, context: object) => unknown) => unknown;

let isRegistered = false;

/** Makes all later imports of the shared packages resolve to the command's own copies. Does so once. */
export function shareOwnPackages(): void {
  if (isRegistered) return;
  isRegistered = true;
  const hooks = nodeModule as unknown as Hooks;
  if (hooks.registerHooks) hooks.registerHooks({ resolve });
  else hooks.register(`data:text/javascript,${encodeURIComponent(threadHooks)}`, { data: import.meta.url });
}

const resolve: Resolve = (specifier, context, next) => {
  if (!shared.test(specifier)) return next(specifier, context);
  const original = { ...context }; // Node keeps what one call changed for the next
  try {
    return next(specifier, { ...context, parentURL: import.meta.url });
  } catch {
    return next(specifier, original);
  }
};

/** The same for older versions of Node, whose hooks are a module that runs in a thread of its own. */
const threadHooks = `
  let parentURL;
  export const initialize = (url) => void (parentURL = url);
  export const resolve = async (specifier, context, next) => {
    if (!${shared}.test(specifier)) return next(specifier, context);
    const original = { ...context };
    return next(specifier, { ...context, parentURL }).catch(() => next(specifier, original));
  };`;
