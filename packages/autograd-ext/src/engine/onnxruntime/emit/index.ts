// The table of kernel emitters. Each file registers, as a side effect, how the recorder turns some kernels of tfjs or
// of this package into ONNX nodes. A new kernel needs one file here and one line below.
import './activation.js';
import './atan2.js';
import './attention.js';
import './batch-norm.js';
import './conv.js';
import './conv-tfjs.js';
import './crop.js';
import './dilation.js';
import './division.js';
import './einsum.js';
import './elementwise.js';
import './gather.js';
import './histogram.js';
import './local-response.js';
import './logic.js';
import './matmul.js';
import './norm.js';
import './pool.js';
import './reduce.js';
import './resize.js';
import './resize-image.js';
import './scan.js';
import './select.js';
import './shape.js';
import './space.js';
import './strided-slice.js';
