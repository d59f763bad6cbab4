import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { hasTensorflow } from '../../../../../../fixtures/engines.js';
