/**
 * The .wasm file of tfjs's wasm backend with SIMD, in base64. The build puts it here (tsup.config.base.ts); the sources
 * run on the file in tfjs's package.
 */
export default undefined as string | undefined;
