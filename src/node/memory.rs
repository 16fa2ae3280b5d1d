//! The allocator: mimalloc, asked in the way that costs least.

use libmimalloc_sys as ffi;
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};

/// Every block of mimalloc starts at a multiple of this, bytes.
const ALIGNED_ANYWAY: usize = 8;

/// mimalloc without its way for unusual alignments where the alignment is not unusual. The crate always asks for an
/// alignment, which costs about 50 instructions more per block; publishing a message takes seven blocks.
pub struct Allocator;

// SAFETY: every block comes from mimalloc and goes back to it, whichever of its functions made it.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNED_ANYWAY {
            // SAFETY: the caller's promises are those of the inner allocator.
            return unsafe { MiMalloc.alloc(layout) };
        }
        // SAFETY: any size is allowed; the block is aligned as asked (see above).
        unsafe { ffi::mi_malloc(layout.size()).cast() }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNED_ANYWAY {
            // SAFETY: the caller's promises are those of the inner allocator.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        // SAFETY: as in `alloc`.
        unsafe { ffi::mi_zalloc(layout.size()).cast() }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block is one of mimalloc's.
        unsafe { ffi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() > ALIGNED_ANYWAY {
            // SAFETY: the caller's promises are those of the inner allocator.
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the block is one of mimalloc's, and the new one is aligned as the old one was.
        unsafe { ffi::mi_realloc(block.cast(), size).cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_zeroed_and_keep_what_they_hold() {
        for align in [1, 2, 4, 8, 16, 64, 4096] {
            for size in [1, 2, 7, 8, 9, 24, 100, 1000, 100_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: within the block's size, and freed once with its last layout.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{size} at {align}");
                    assert!((0..size).all(|at| *block.add(at) == 0), "{size} at {align}");
                    block.write_bytes(7, size);
                    let grown = Allocator.realloc(block, layout, 2 * size);
                    assert!(grown.addr().is_multiple_of(align) && (0..size).all(|at| *grown.add(at) == 7));
                    Allocator.dealloc(grown, Layout::from_size_align(2 * size, align).unwrap());
                    let plain = Allocator.alloc(layout);
                    assert!(plain.addr().is_multiple_of(align), "{size} at {align}");
                    Allocator.dealloc(plain, layout);
                }
            }
        }
    }
}
