//! Plans to bytes, fast: the same crops as [`render`](super::render()), on vectors, and only the pixels that a crop reads.

use mugs_image::fast::{self, Blur, Counts, Geometry, Maps, Planes, Resizer, View, Window};
use mugs_image::{Image, ops};
use mugs_simd::{Level, Vectors};

use super::plan::{CropBox, CropPlan, JitterStep, PicturePlan, StrongCrop, WeakCrop};
use super::profile::{Profile, Task};
use super::render::{SOLARIZE_THRESHOLD, render};
use super::work::{self, LookUp, Step};

/// Renders the crops of picture after picture; one for each worker, as it holds the buffers that the work needs.
pub struct Renderer {
    vectors: Option<Vectors>,
    profile: Profile,
    source: Source,
    /// The picture while the steps of a strong crop change it, by turns.
    stages: [Planes; 2],
    /// The finished crop.
    crop: Planes,
    tools: Tools,
    /// Pixels of the largest picture that the buffers have grown for.
    largest: usize,
    steps: Vec<Step>,
    windows: Vec<Window>,
}

/// Buffers grown for a picture of more pixels are given back when one of less than a quarter follows: a worker that met
/// one huge picture does not hold its memory for the rest of the run.
const KEPT_PIXELS: usize = 4_000_000;

/// The picture at hand, and what is known of it.
#[derive(Default)]
struct Source {
    /// Turned: rows are the picture's columns.
    planes: Planes,
    counts: Option<Counts>,
    mean: Option<u8>,
}

#[derive(Default)]
struct Tools {
    resizer: Resizer,
    geometry: Geometry,
    blur: Blur,
}

impl Renderer {
    /// A renderer for the path `level`.
    pub fn new(level: Level) -> Self {
        Self::profiled(level, Profile::default())
    }

    /// The same, which counts its work in `profile`.
    pub fn profiled(level: Level, profile: Profile) -> Self {
        Self {
            vectors: Vectors::of(level),
            profile,
            source: Source::default(),
            stages: Default::default(),
            crop: Planes::new(),
            tools: Tools::default(),
            largest: 0,
            steps: Vec::new(),
            windows: Vec::new(),
        }
    }

    /// Renders all crops of a picture, one after the other, each `[3, S, S]` u8 of its own size S.
    ///
    /// # Panics
    /// `out` does not have [`PicturePlan::bytes`] bytes, or a crop's box leaves the picture.
    pub fn render(&mut self, picture: &Image, plan: &PicturePlan, out: &mut [u8]) {
        assert_eq!(out.len(), plan.bytes(), "the crops have another size");
        self.begin(picture);
        let mut rest = out;
        for crop in &plan.crops {
            let (bytes, behind) = rest.split_at_mut(crop.bytes());
            self.one(picture, crop, bytes);
            rest = behind;
        }
    }

    fn begin(&mut self, picture: &Image) {
        let pixels = picture.width * picture.height;
        if self.largest > KEPT_PIXELS && pixels < self.largest / 4 {
            (self.source, self.stages, self.tools, self.largest) = Default::default();
        }
        self.largest = self.largest.max(pixels);
        if let Some(vectors) = self.vectors {
            self.profile.run(Task::Planes, || fast::columns_of(vectors, picture, &mut self.source.planes));
            (self.source.counts, self.source.mean) = (None, None);
        }
    }

    fn one(&mut self, picture: &Image, plan: &CropPlan, out: &mut [u8]) {
        let wide_blur = matches!(plan, CropPlan::Weak(weak) if weak.blur.is_some_and(|radius| !Blur::can(radius)));
        let Some(vectors) = self.vectors.filter(|_| !wide_blur) else {
            return out.copy_from_slice(&render(picture, plan).planes());
        };
        match plan {
            CropPlan::Weak(weak) => self.weak(vectors, weak),
            CropPlan::Strong(strong) => self.strong(vectors, strong),
        }
        self.profile.run(Task::Finish, || self.crop.copy_to(out));
    }

    /// Crop first: everything else is done on the small square.
    fn weak(&mut self, vectors: Vectors, plan: &WeakCrop) {
        let Self { profile, source, crop, tools, .. } = self;
        let view = View::whole(&source.planes, false);
        let window = window(plan.crop);
        profile.run(Task::Resize, || tools.resizer.crop(vectors, &view, &window, plan.size, plan.flip, crop));
        for step in plan.jitter.iter().flatten() {
            match *step {
                JitterStep::Brightness(factor) => {
                    profile.run(Task::Brightness, || fast::brightness(vectors, crop, factor));
                }
                JitterStep::Contrast(factor) => profile.run(Task::Contrast, || {
                    let mean = fast::mean_luma(vectors, crop);
                    fast::contrast(vectors, crop, mean, factor);
                }),
                JitterStep::Saturation(factor) => {
                    profile.run(Task::Saturation, || fast::saturation(vectors, crop, factor));
                }
                JitterStep::Hue(factor) => profile.run(Task::Hue, || fast::hue(vectors, crop, factor.into())),
            }
        }
        if plan.gray {
            profile.run(Task::Grayscale, || fast::grayscale(vectors, crop));
        }
        if let Some(radius) = plan.blur {
            // Gray planes are equal: one is blurred for all.
            let channels = if plan.gray { 1 } else { 3 };
            profile.run(Task::Blur, || {
                tools.blur.blur(vectors, crop, channels, radius);
                if plan.gray {
                    crop.repeat_first();
                }
            });
        }
        if plan.solarize {
            profile.run(Task::LookUp, || Maps::solarize(SOLARIZE_THRESHOLD).apply(vectors, crop));
        }
    }

    /// Crop last, but every step is done only where the steps behind it and the crop read.
    fn strong(&mut self, vectors: Vectors, plan: &StrongCrop) {
        let Self { profile, source, stages, crop, tools, steps, windows, .. } = self;
        let (rows, columns) = (source.planes.rows(), source.planes.columns());
        work::steps(plan, rows, columns, steps);
        work::windows(steps, window(plan.crop), rows, columns, windows);
        let mut state = State { vectors, profile, source, flip: plan.flip, stages, held: None, pending: None };
        for (number, step) in steps.iter().enumerate() {
            state.apply(step, &windows[number], &windows[number + 1], &mut tools.geometry);
        }
        let last = &windows[steps.len()];
        state.settle(last);
        let view = state.view();
        profile.run(Task::Resize, || tools.resizer.crop(vectors, &view, last, plan.size, false, crop));
    }
}

/// A part of a picture as a window of the turned picture.
fn window(part: CropBox) -> Window {
    let CropBox { top, left, height, width } = part;
    Window { rows: left..left + width, columns: top..top + height }
}

/// The picture between two steps of a strong crop.
struct State<'a> {
    vectors: Vectors,
    profile: &'a Profile,
    source: &'a mut Source,
    flip: bool,
    stages: &'a mut [Planes; 2],
    /// Which window of the picture the first stage holds; none while it is the source's.
    held: Option<Window>,
    /// Tables that are still to be applied to it.
    pending: Option<Maps>,
}

impl State<'_> {
    fn view(&self) -> View<'_> {
        let planes = &self.source.planes;
        match &self.held {
            None => View::whole(planes, self.flip),
            Some(window) => View::part(&self.stages[0], window, planes.rows(), planes.columns()),
        }
    }

    fn apply(&mut self, step: &Step, read: &Window, wanted: &Window, geometry: &mut Geometry) {
        let vectors = self.vectors;
        match *step {
            Step::LookUp(look_up) => {
                let maps = self.table(look_up, read);
                let joined = self.pending.as_ref().map(|pending| pending.then(&maps));
                self.pending = Some(joined.unwrap_or(maps));
            }
            Step::Saturation(factor) => {
                self.in_place(read, Task::Saturation, |planes| fast::saturation(vectors, planes, factor));
            }
            Step::Hue(factor) => self.in_place(read, Task::Hue, |planes| fast::hue(vectors, planes, factor)),
            Step::Grayscale => self.in_place(read, Task::Grayscale, |planes| fast::grayscale(vectors, planes)),
            Step::Sharpness(factor) => {
                self.anew(read, wanted, Task::Sharpness, |view, out| {
                    fast::sharpness(vectors, view, wanted, factor, out);
                });
            }
            Step::Map(matrix, resample) => {
                let shear = matrix[0] == 1.0 && matrix[4] == 1.0;
                self.anew(read, wanted, if shear { Task::Shear } else { Task::Rotate }, |view, out| {
                    geometry.map(vectors, view, wanted, &matrix, resample, out);
                });
            }
            Step::Turn(degrees) => self.in_place(read, Task::Rotate, |planes| {
                let image = ops::rotate(&fast::to_image(planes, true), degrees, ops::Resample::Bilinear);
                fast::columns_of(vectors, &image, planes);
            }),
        }
    }

    /// Makes the pixels what the pending tables say, at least in `window`.
    fn settle(&mut self, window: &Window) {
        let Some(maps) = self.pending.take() else { return };
        let vectors = self.vectors;
        if self.held.is_some() {
            self.profile.run(Task::LookUp, || maps.apply(vectors, &mut self.stages[0]));
            return;
        }
        let view = View::whole(&self.source.planes, self.flip);
        self.profile.run(Task::LookUp, || maps.copy(vectors, &view, window, &mut self.stages[0]));
        self.held = Some(window.clone());
    }

    /// Changes the pixels of a window where they are.
    fn in_place(&mut self, window: &Window, task: Task, change: impl FnOnce(&mut Planes)) {
        self.settle(window);
        if self.held.is_none() {
            View::whole(&self.source.planes, self.flip).copy(window, &mut self.stages[0]);
            self.held = Some(window.clone());
        }
        self.profile.run(task, || change(&mut self.stages[0]));
    }

    /// Makes the window `wanted` from what the window `read` holds.
    fn anew(&mut self, read: &Window, wanted: &Window, task: Task, make: impl FnOnce(&View<'_>, &mut Planes)) {
        self.settle(read);
        let mut out = std::mem::take(&mut self.stages[1]);
        let view = self.view();
        self.profile.run(task, || make(&view, &mut out));
        self.stages[1] = std::mem::replace(&mut self.stages[0], out);
        self.held = Some(wanted.clone());
    }

    /// The table of a step; `read` is the whole picture where its statistics cannot be derived.
    fn table(&mut self, look_up: LookUp, read: &Window) -> Maps {
        match look_up {
            LookUp::AutoContrast => Maps::auto_contrast(&self.counts(read)),
            LookUp::Equalize => Maps::equalize(&self.counts(read)),
            LookUp::Contrast(factor) => Maps::blend(self.mean(read), factor),
            LookUp::Invert => Maps::invert(),
            LookUp::Posterize(bits) => Maps::posterize(bits),
            LookUp::Solarize(threshold) => Maps::solarize(threshold),
            LookUp::SolarizeAdd(add) => Maps::solarize_add(add),
            LookUp::Brightness(factor) => Maps::blend(0, factor),
        }
    }

    /// The counts of the whole picture as the steps so far left it.
    fn counts(&mut self, read: &Window) -> Counts {
        if self.held.is_some() {
            self.settle(read);
            return self.profile.run(Task::Statistics, || Counts::of(&self.stages[0]));
        }
        let Source { planes, counts, .. } = &mut *self.source;
        let counts = counts.get_or_insert_with(|| self.profile.run(Task::Statistics, || Counts::of(planes)));
        // A flip changes no count, and a table moves counts.
        self.pending.as_ref().map_or_else(|| counts.clone(), |maps| counts.mapped(maps))
    }

    /// The mean luma of the whole picture as the steps so far left it.
    fn mean(&mut self, read: &Window) -> u8 {
        let vectors = self.vectors;
        if self.held.is_some() || self.pending.is_some() {
            self.settle(read);
            return self.profile.run(Task::Statistics, || fast::mean_luma(vectors, &self.stages[0]));
        }
        let Source { planes, mean, .. } = &mut *self.source;
        *mean.get_or_insert_with(|| self.profile.run(Task::Statistics, || fast::mean_luma(vectors, planes)))
    }
}
