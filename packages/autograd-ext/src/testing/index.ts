export { checkGradient, type CheckGradientOptions } from './check-gradient.js';
export { expectNoLeaks } from './expect-no-leaks.js';
