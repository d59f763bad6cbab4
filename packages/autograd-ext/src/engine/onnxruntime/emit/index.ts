// Each file teaches the recorder some kernels.
import './attention.js';
import './conv.js';
import './elementwise.js';
import './matmul.js';
import './norm.js';
import './reduce.js';
import './resize.js';
import './shape.js';
