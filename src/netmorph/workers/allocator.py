"""What allocators do with memory that tensors leave."""

import ctypes
import platform

# Numbers of glibc's malloc.h, and the largest values that it takes.
M_TRIM_THRESHOLD, LARGEST_TRIM_THRESHOLD = -1, 2**31 - 1
M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD = -3, 32 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep the memory that tensors on the CPU leave, for the next ones: up to 2 GiB.

    Otherwise glibc gives the activations of every training step back to the system, which hands them out again filled
    with zeros, page by page: a twelfth of the processor time of a small ResNet's step. Single tensors above 32 MiB are
    given back all the same. It concerns the whole process and cannot be undone, so programs call it when they start
    (`netmorph` and each of its workers do), never a library for them.

    Returns:
        Whether the C library has taken both settings; others than glibc are not told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((M_TRIM_THRESHOLD, LARGEST_TRIM_THRESHOLD), (M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
