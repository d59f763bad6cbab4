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
          'Install Open MPI \\(apt-get install openmpi-bin libopenmpi3\\), or start one process',
      ),
    );
  });

  it('names the packages to install where koffi is missing', async () => {
    vi.spyOn(process, 'cwd').mockReturnValue('/'); // where it is not installed either
    vi.doMock('koffi', () => {
      throw new Error("Cannot find package 'koffi'");
    });
    await expect(loadLibMpi()).rejects.toThrow(
      /^openMpi: the package 'koffi' cannot be loaded: .*Run 'npm install koffi'\. .* Install Open MPI/s,
    );
  });
});
