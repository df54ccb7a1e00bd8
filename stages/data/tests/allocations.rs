//! Rendering allocates nothing once its buffers have grown: every allocation of the thread that renders is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use mugs_data::crop::{CropConfig, Planner, Profile, Renderer};
use mugs_data::pool::Pool;
use mugs_data::{Origin, Picture};
use mugs_image::Image;
use mugs_simd::Level;

/// Passes everything on to the system's allocator and counts it.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread's allocations are counted: the threads of the test harness make some too, at any time.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            CALLS.fetch_add(1, Ordering::Relaxed);
            LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        }
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread, and the largest of them, during some work.
fn allocations(work: impl FnOnce()) -> (usize, usize) {
    CALLS.store(0, Ordering::Relaxed);
    LARGEST.store(0, Ordering::Relaxed);
    COUNTED.set(true);
    work();
    COUNTED.set(false);
    (CALLS.load(Ordering::Relaxed), LARGEST.load(Ordering::Relaxed))
}

/// One test, as the bytes in use are those of the whole process.
#[test]
fn nothing_is_allocated_for_crops_in_the_steady_state() {
    let image = Image::new(500, 375, (0..500 * 375 * 3).map(|at| (at * 37 / 11) as u8).collect()).unwrap();
    let planner = Planner::new(1, &CropConfig::default()).unwrap();
    let Some(level) = Level::available().last().filter(|level| *level != Level::Scalar) else {
        return mugs_test_support::skip("allocations", "the processor has no vectors, and the scalar path allocates");
    };
    let plans: Vec<_> = (0..40).map(|position| planner.plan(0, position, image.width, image.height)).collect();
    let mut out = vec![0; plans[0].bytes()];
    let mut renderer = Renderer::new(level);
    let all =
        |renderer: &mut Renderer, out: &mut [u8]| plans.iter().for_each(|plan| renderer.render(&image, plan, out));
    let (first, _) = allocations(|| all(&mut renderer, &mut out));
    assert!(first > 0, "the buffers are made by the first pictures");
    assert_eq!(allocations(|| all(&mut renderer, &mut out)), (0, 0));

    // A huge picture's buffers are not kept.
    let before = LIVE.load(Ordering::Relaxed);
    let huge = Image::new(4000, 3000, vec![9; 3 * 4000 * 3000]).unwrap();
    let plan = planner.plan(0, 0, huge.width, huge.height);
    renderer.render(&huge, &plan, &mut out);
    drop(huge);
    assert!(LIVE.load(Ordering::Relaxed) > before + 3 * 4000 * 3000, "its planes are held");
    all(&mut renderer, &mut out);
    assert!(LIVE.load(Ordering::Relaxed) < before + 1_000_000, "{before} bytes became {LIVE:?}");

    // The whole stage makes a few small lists for each picture (its plan, the crops' sides and rectangles).
    let mut cropper = mugs_data::crop::Cropper::new(planner, level, Pool::default(), Profile::default());
    let picture = |position| {
        let (key, shard) = ("key".into(), "a.tar".into());
        let origin = Origin { epoch: 0, position, key, shard, offset: 0, label: None, stands_in_for: None };
        Picture { origin, image: image.clone() }
    };
    let pictures: Vec<_> = (0..40).map(picture).collect();
    pictures.iter().for_each(|picture| drop(cropper.crop(picture)));
    let (calls, largest) = allocations(|| pictures.iter().for_each(|picture| drop(cropper.crop(picture))));
    assert!(largest <= 8192, "an allocation of {largest} bytes");
    assert!(calls <= 40 * pictures.len(), "{calls} allocations for {} pictures", pictures.len());
}
