import { describe, expect, it } from 'vitest';
import type { HubAccess } from '@alignprop/autograd-ext/weights';
import { tinyAesthetic, tinyClip, tinyImageReward } from './__fixtures__/tiny-models.js';
import * as api from './index.js';

const id = 'org/name';
const create: Readonly<Record<string, (access: HubAccess) => unknown>> = {
  'aesthetic, CLIP': (access) => api.aesthetic({ weights: id, ...access }),
  'aesthetic, head': (access) => api.aesthetic({ ...tinyAesthetic, head: id, ...access }),
  clipScore: (access) => api.clipScore({ weights: id, ...access }),
  'clipScore, tokenizer': (access) => api.clipScore({ ...tinyClip, tokenizer: id, ...access }),
  pickScore: (access) => api.pickScore({ weights: id, ...access }),
  hpsV2: (access) => api.hpsV2({ weights: id, ...access }),
  imageReward: (access) => api.imageReward({ weights: id, ...access }),
  'imageReward, tokenizer': (access) => api.imageReward({ ...tinyImageReward, tokenizer: id, ...access }),
  objectDetection: (access) => api.objectDetection({ target: 'dog', weights: id, ...access }),
  graphModel: (access) => api.graphModel({ model: id, score: [1], ...access }),
  nsfwSafety: (access) => api.nsfwSafety({ model: id, ...access }),
};

describe.each(Object.entries(create))('%s', (_, createReward) => {
  it('passes its options on to the hub', async () => {
    await expect(createReward({ cacheDir: '/no/such/cache', localFilesOnly: true })).rejects.toThrow(
      "hub: revision 'main' of 'org/name' is not in the cache '/no/such/cache/models--org--name'.",
    );
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(createReward({ signal })).rejects.toThrow('enough');
  });
});
