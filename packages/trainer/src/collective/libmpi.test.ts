import { afterEach, describe, expect, it, vi } from 'vitest';
import { loadLibMpi } from './libmpi.js';

afterEach(() => vi.doUnmock('koffi'));

describe('loadLibMpi', () => {
  it('names the packages to install where Open MPI is missing', async () => {
    vi.doMock('koffi', () => ({
      default: {
        load: () => {
          throw new Error('libmpi.so.40: cannot open shared object file');
        },
      },
    }));
    await expect(loadLibMpi()).rejects.toThrow(
      new RegExp(
        '^openMpi: libmpi.* cannot be loaded: libmpi\\.so\\.40: cannot open shared object file\\. ' +
          'Install Open MPI \\(apt-get install openmpi-bin libopenmpi3\\) and koffi \\(npm install koffi\\), ' +
          'or start one process',
      ),
    );
  });

  it('names the packages to install where koffi is missing', async () => {
    vi.doMock('koffi', () => {
      throw new Error("Cannot find package 'koffi'");
    });
    await expect(loadLibMpi()).rejects.toThrow(
      /^openMpi: koffi, which calls Open MPI, cannot be loaded\. Install Open MPI/,
    );
  });
});
