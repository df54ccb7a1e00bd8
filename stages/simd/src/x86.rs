//! The two kinds of vectors on x86-64.

use std::arch::x86_64::*;

use crate::{Kernel, Level, Simd};

/// Vectors of a kind that the processor has.
#[derive(Debug, Clone, Copy)]
pub enum Vectors {
    /// 32 bytes.
    Avx2(Avx2),
    /// 64 bytes.
    Avx512(Avx512),
}

impl Vectors {
    /// Those of a path; none if it has none, or the processor lacks them.
    pub fn of(level: Level) -> Option<Self> {
        match level {
            Level::Scalar => None,
            Level::Avx2 => Avx2::new().map(Self::Avx2),
            Level::Avx512 => Avx512::new().map(Self::Avx512),
        }
    }

    /// Runs a kernel.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            Self::Avx2(vectors) => vectors.run(kernel),
            Self::Avx512(vectors) => vectors.run(kernel),
        }
    }
}

/// AVX2 and FMA. A value exists only where the processor has them.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// AVX-512 with BW, VL, DQ, VBMI and VNNI, and AVX2 and FMA. A value exists only where the processor has them.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx2 {
    /// The proof that the processor has them, if it has.
    #[inline]
    pub fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Runs a kernel.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        #[target_feature(enable = "avx2,fma")]
        fn inside<K: Kernel>(vectors: Avx2, kernel: K) -> K::Out {
            kernel.run(vectors)
        }
        // SAFETY: a value of `Avx2` proves that the processor has both features.
        unsafe { inside(self, kernel) }
    }
}

impl Avx512 {
    /// The proof that the processor has them, if it has.
    #[inline]
    pub fn new() -> Option<Self> {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        (wide && Avx2::new().is_some()).then_some(Self(()))
    }

    /// The narrower vectors, which every processor with these has.
    #[inline]
    pub fn avx2(self) -> Avx2 {
        Avx2(())
    }

    /// Runs a kernel.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
        fn inside<K: Kernel>(vectors: Avx512, kernel: K) -> K::Out {
            kernel.run(vectors)
        }
        // SAFETY: a value of `Avx512` proves that the processor has all of these features.
        unsafe { inside(self, kernel) }
    }
}

/// Methods that are one instruction each.
macro_rules! instructions {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $out:ty = $value:expr;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $kind),*) -> $out {
                // SAFETY: `self` proves that the processor has the instruction; no memory is touched.
                unsafe { $value }
            }
        )*
    };
}

/// Where the bytes of a channel lie in each third of 16 colours of three bytes; 0x80 gives zero.
const fn picks(channel: usize, third: usize) -> [u8; 16] {
    let mut picks = [0x80; 16];
    let mut pixel = 0;
    while pixel < 16 {
        let at = 3 * pixel + channel;
        if at / 16 == third {
            picks[pixel] = (at % 16) as u8;
        }
        pixel += 1;
    }
    picks
}

/// By channel and third.
const PICKS: [[[u8; 16]; 3]; 3] = [
    [picks(0, 0), picks(0, 1), picks(0, 2)],
    [picks(1, 0), picks(1, 1), picks(1, 2)],
    [picks(2, 0), picks(2, 1), picks(2, 2)],
];

/// 16 colours as 16 bytes of each channel.
#[inline(always)]
fn split_colours(_: Avx2, colours: &[u8; 48]) -> [[u8; 16]; 3] {
    let mut out = [[0; 16]; 3];
    // SAFETY: AVX2, which the value proves, has SSSE3's shuffle in it; every load and store is of 16 bytes of an array
    // or slice that long.
    unsafe {
        let load = _mm_loadu_si128;
        let thirds = [
            load(colours[..16].as_ptr().cast()),
            load(colours[16..32].as_ptr().cast()),
            load(colours[32..].as_ptr().cast()),
        ];
        for (out, picks) in out.iter_mut().zip(&PICKS) {
            let mut found = _mm_setzero_si128();
            for (third, picks) in thirds.iter().zip(picks) {
                found = _mm_or_si128(found, _mm_shuffle_epi8(*third, load(picks.as_ptr().cast())));
            }
            _mm_storeu_si128(out.as_mut_ptr().cast(), found);
        }
    }
    out
}

/// Turns 32 rows of 16 bytes into 16 rows of 32: in four rounds rows that are 8, 4, 2 and 1 apart exchange halves,
/// quarters, pairs and bytes, as each interleaves row i with row i + 8; the lower half of a vector holds one of the first
/// 16 rows, the upper half the row 16 behind it.
#[inline(always)]
fn turn(_: Avx2, from: &[u8], at: usize, stride: isize, to: &mut [u8], stride_out: usize) {
    const ROWS: usize = 16;
    let last = at.checked_add_signed((2 * ROWS - 1) as isize * stride);
    let inside = |at: usize| at.checked_add(ROWS).is_some_and(|end| end <= from.len());
    assert!(inside(at) && last.is_some_and(inside), "the tile's rows leave what is read");
    assert!((ROWS - 1) * stride_out + 2 * ROWS <= to.len(), "the tile's rows leave what is written");
    // SAFETY: the value proves AVX2; the first and the last row of 16 bytes lie inside `from`, so those between them do,
    // and the last row of 32 bytes ends inside `to`; the instructions ask for no alignment.
    unsafe {
        let mut rows = [_mm256_setzero_si256(); ROWS];
        for (row, lanes) in rows.iter_mut().enumerate() {
            let upper = from.as_ptr().offset(at as isize + row as isize * stride);
            let lower = upper.offset(ROWS as isize * stride);
            *lanes = _mm256_castsi128_si256(_mm_loadu_si128(upper.cast()));
            *lanes = _mm256_inserti128_si256::<1>(*lanes, _mm_loadu_si128(lower.cast()));
        }
        for _ in 0..4 {
            let mut next = rows;
            for i in 0..ROWS / 2 {
                next[2 * i] = _mm256_unpacklo_epi8(rows[i], rows[i + ROWS / 2]);
                next[2 * i + 1] = _mm256_unpackhi_epi8(rows[i], rows[i + ROWS / 2]);
            }
            rows = next;
        }
        for (row, lanes) in rows.iter().enumerate() {
            _mm256_storeu_si256(to.as_mut_ptr().add(row * stride_out).cast(), *lanes);
        }
    }
}

/// Loads and stores whose slices are checked.
macro_rules! memory {
    (
        $vector:ty, $floats:ty, $load:ident, $store:ident, $store_f32:ident, $widen:ident, $quarter:ident
    ) => {
        #[inline(always)]
        fn load(self, from: &[u8]) -> $vector {
            let from = &from[..Self::BYTES];
            // SAFETY: the slice has the vector's bytes; the instruction asks for no alignment.
            unsafe { $load(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store(self, value: $vector, to: &mut [u8]) {
            let to = &mut to[..Self::BYTES];
            // SAFETY: the slice has the vector's bytes; the instruction asks for no alignment.
            unsafe { $store(to.as_mut_ptr().cast(), value) }
        }

        #[inline(always)]
        fn load16(self, from: &[u16]) -> $vector {
            let from = &from[..Self::BYTES / 2];
            // SAFETY: the slice has the vector's bytes; the instruction asks for no alignment.
            unsafe { $load(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store16(self, value: $vector, to: &mut [u16]) {
            let to = &mut to[..Self::BYTES / 2];
            // SAFETY: the slice has the vector's bytes; the instruction asks for no alignment.
            unsafe { $store(to.as_mut_ptr().cast(), value) }
        }

        #[inline(always)]
        fn store_f32(self, value: $floats, to: &mut [f32]) {
            let to = &mut to[..Self::BYTES / 4];
            // SAFETY: the slice has the vector's bytes; the instruction asks for no alignment.
            unsafe { $store_f32(to.as_mut_ptr(), value) }
        }

        #[inline(always)]
        fn load_widened(self, from: &[u8]) -> $vector {
            let from = &from[..Self::BYTES / 4];
            // SAFETY: the slice has a quarter of the vector's bytes; the instructions ask for no alignment.
            unsafe { $widen($quarter(from.as_ptr().cast())) }
        }
    };
}

impl Simd for Avx2 {
    const BYTES: usize = 32;
    type I = __m256i;
    type F = __m256;
    type D = __m256d;
    type Q = __m256d;
    /// Sixteen times sixteen entries, each in both halves.
    type Table = [__m256i; 16];

    memory!(
        __m256i,
        __m256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_storeu_ps,
        _mm256_cvtepu8_epi32,
        _mm_loadl_epi64
    );

    instructions! {
        splat_quad(value: f64) -> __m256d = _mm256_set1_pd(value);
        add_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_add_pd(a, b);
        sub_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_sub_pd(a, b);
        mul_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_mul_pd(a, b);
        quad(bytes: u32) -> __m256d = _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes as i32)));
        quad_bytes(a: __m256d) -> [u8; 4] = {
            let words = _mm_packs_epi32(_mm256_cvttpd_epi32(a), _mm_setzero_si128());
            _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes()
        };
        splat8(value: u8) -> __m256i = _mm256_set1_epi8(value as i8);
        splat16(value: i16) -> __m256i = _mm256_set1_epi16(value);
        splat32(value: i32) -> __m256i = _mm256_set1_epi32(value);
        splat_f32(value: f32) -> __m256 = _mm256_set1_ps(value);
        splat_f64(value: f64) -> __m256d = _mm256_set1_pd(value);
        lo8(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi8(a, b);
        hi8(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi8(a, b);
        lo16(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi16(a, b);
        hi16(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi16(a, b);
        lo32(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi32(a, b);
        hi32(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi32(a, b);
        pack16_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_packus_epi16(a, b);
        pack32_i16(a: __m256i, b: __m256i) -> __m256i = _mm256_packs_epi32(a, b);
        pack16_i8(a: __m256i, b: __m256i) -> __m256i = _mm256_packs_epi16(a, b);
        and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        xor(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256(a, b);
        and_not(a: __m256i, b: __m256i) -> __m256i = _mm256_andnot_si256(a, b);
        add8(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi8(a, b);
        sub8(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi8(a, b);
        add_sat_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_adds_epu8(a, b);
        sub_sat_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_subs_epu8(a, b);
        min_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_min_epu8(a, b);
        max_u8(a: __m256i, b: __m256i) -> __m256i = _mm256_max_epu8(a, b);
        eq8(a: __m256i, b: __m256i) -> __m256i = _mm256_cmpeq_epi8(a, b);
        add16(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi16(a, b);
        sub16(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi16(a, b);
        mul16(a: __m256i, b: __m256i) -> __m256i = _mm256_mullo_epi16(a, b);
        mulhi_u16(a: __m256i, b: __m256i) -> __m256i = _mm256_mulhi_epu16(a, b);
        srl16(a: __m256i, bits: i32) -> __m256i = _mm256_srl_epi16(a, _mm_cvtsi32_si128(bits));
        add32(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        sub32(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        mul32(a: __m256i, b: __m256i) -> __m256i = _mm256_mullo_epi32(a, b);
        sll32(a: __m256i, bits: i32) -> __m256i = _mm256_sll_epi32(a, _mm_cvtsi32_si128(bits));
        srl32(a: __m256i, bits: i32) -> __m256i = _mm256_srl_epi32(a, _mm_cvtsi32_si128(bits));
        sra32(a: __m256i, bits: i32) -> __m256i = _mm256_sra_epi32(a, _mm_cvtsi32_si128(bits));
        sll64(a: __m256i, bits: i32) -> __m256i = _mm256_sll_epi64(a, _mm_cvtsi32_si128(bits));
        srl64(a: __m256i, bits: i32) -> __m256i = _mm256_srl_epi64(a, _mm_cvtsi32_si128(bits));
        mul_u32(a: __m256i, b: __m256i) -> __m256i = _mm256_mul_epu32(a, b);
        eq32(a: __m256i, b: __m256i) -> __m256i = _mm256_cmpeq_epi32(a, b);
        gt32(a: __m256i, b: __m256i) -> __m256i = _mm256_cmpgt_epi32(a, b);
        dot8(a: __m256i, b: __m256i) -> __m256i = _mm256_maddubs_epi16(a, b);
        dot16(sum: __m256i, a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
        select(mask: __m256i, yes: __m256i, no: __m256i) -> __m256i = _mm256_blendv_epi8(no, yes, mask);
        bits8(mask: __m256i) -> u64 = u64::from(_mm256_movemask_epi8(mask) as u32);
        to_f32(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        trunc(a: __m256) -> __m256i = _mm256_cvttps_epi32(a);
        nearest(a: __m256) -> __m256i = _mm256_cvtps_epi32(a);
        add_f32(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub_f32(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul_f32(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div_f32(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        sqrt_f32(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        lt_f32(a: __m256, b: __m256) -> __m256i = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        bits_of(a: __m256) -> __m256i = _mm256_castps_si256(a);
        f32_of(a: __m256i) -> __m256 = _mm256_castsi256_ps(a);
        widen_f32(a: __m256) -> [__m256d; 2] = [
            _mm256_cvtps_pd(_mm256_castps256_ps128(a)),
            _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(a)),
        ];
        narrow_f64(a: [__m256d; 2]) -> __m256 = _mm256_set_m128(_mm256_cvtpd_ps(a[1]), _mm256_cvtpd_ps(a[0]));
        add_f64(a: __m256d, b: __m256d) -> __m256d = _mm256_add_pd(a, b);
        sub_f64(a: __m256d, b: __m256d) -> __m256d = _mm256_sub_pd(a, b);
        mul_f64(a: __m256d, b: __m256d) -> __m256d = _mm256_mul_pd(a, b);
        table(table: &[u8; 256]) -> [__m256i; 16] = std::array::from_fn(|part| {
            // SAFETY: the part lies inside the table; the instruction asks for no alignment.
            _mm256_broadcastsi128_si256(_mm_loadu_si128(table[16 * part..16 * part + 16].as_ptr().cast()))
        });
    }

    #[inline(always)]
    fn load_widened16(self, from: &[u8]) -> __m256i {
        let from = &from[..16];
        // SAFETY: the slice has the 16 bytes; the instruction asks for no alignment.
        unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_narrowed16(self, value: __m256i, to: &mut [u8]) {
        let to = &mut to[..16];
        // SAFETY: the slice has the 16 bytes; the instruction asks for no alignment.
        unsafe {
            let bytes = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(value, value));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_castsi256_si128(bytes));
        }
    }

    #[inline(always)]
    fn turn(self, from: &[u8], at: usize, stride: isize, to: &mut [u8], stride_out: usize) {
        turn(self, from, at, stride, to, stride_out);
    }

    #[inline(always)]
    fn split_colours(self, colours: &[u8; 48]) -> [[u8; 16]; 3] {
        split_colours(self, colours)
    }

    #[inline(always)]
    fn sum_u8(self, a: __m256i) -> u64 {
        // SAFETY: `self` proves that the processor has the instructions; no memory is touched.
        let lanes: [u64; 4] = unsafe { std::mem::transmute(_mm256_sad_epu8(a, _mm256_setzero_si256())) };
        lanes.iter().sum()
    }

    #[inline(always)]
    fn look_up(self, table: &[__m256i; 16], at: [__m256i; 2]) -> [__m256i; 2] {
        let (mut found, high) = ([self.zero(); 2], self.splat8(0x70));
        for (part, &entries) in table.iter().enumerate() {
            let base = self.splat8(16 * part as u8);
            for (found, &at) in found.iter_mut().zip(&at) {
                // Only an index of this part keeps its highest bit clear; the others give zero.
                let index = self.add_sat_u8(self.xor(at, base), high);
                // SAFETY: `self` proves that the processor has the instruction; no memory is touched.
                *found = self.or(*found, unsafe { _mm256_shuffle_epi8(entries, index) });
            }
        }
        found
    }
}

impl Simd for Avx512 {
    const BYTES: usize = 64;
    type I = __m512i;
    type F = __m512;
    type D = __m512d;
    type Q = __m256d;
    /// Four times 64 entries.
    type Table = [__m512i; 4];

    memory!(
        __m512i,
        __m512,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_storeu_ps,
        _mm512_cvtepu8_epi32,
        _mm_loadu_si128
    );

    instructions! {
        splat_quad(value: f64) -> __m256d = _mm256_set1_pd(value);
        add_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_add_pd(a, b);
        sub_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_sub_pd(a, b);
        mul_quad(a: __m256d, b: __m256d) -> __m256d = _mm256_mul_pd(a, b);
        quad(bytes: u32) -> __m256d = _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes as i32)));
        quad_bytes(a: __m256d) -> [u8; 4] = {
            let words = _mm_packs_epi32(_mm256_cvttpd_epi32(a), _mm_setzero_si128());
            _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes()
        };
        splat8(value: u8) -> __m512i = _mm512_set1_epi8(value as i8);
        splat16(value: i16) -> __m512i = _mm512_set1_epi16(value);
        splat32(value: i32) -> __m512i = _mm512_set1_epi32(value);
        splat_f32(value: f32) -> __m512 = _mm512_set1_ps(value);
        splat_f64(value: f64) -> __m512d = _mm512_set1_pd(value);
        lo8(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi8(a, b);
        hi8(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi8(a, b);
        lo16(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi16(a, b);
        hi16(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi16(a, b);
        lo32(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi32(a, b);
        hi32(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi32(a, b);
        pack16_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_packus_epi16(a, b);
        pack32_i16(a: __m512i, b: __m512i) -> __m512i = _mm512_packs_epi32(a, b);
        pack16_i8(a: __m512i, b: __m512i) -> __m512i = _mm512_packs_epi16(a, b);
        and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        or(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        xor(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
        and_not(a: __m512i, b: __m512i) -> __m512i = _mm512_andnot_si512(a, b);
        add8(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi8(a, b);
        sub8(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi8(a, b);
        add_sat_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_adds_epu8(a, b);
        sub_sat_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_subs_epu8(a, b);
        min_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_min_epu8(a, b);
        max_u8(a: __m512i, b: __m512i) -> __m512i = _mm512_max_epu8(a, b);
        eq8(a: __m512i, b: __m512i) -> __m512i = _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(a, b));
        add16(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi16(a, b);
        sub16(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi16(a, b);
        mul16(a: __m512i, b: __m512i) -> __m512i = _mm512_mullo_epi16(a, b);
        mulhi_u16(a: __m512i, b: __m512i) -> __m512i = _mm512_mulhi_epu16(a, b);
        srl16(a: __m512i, bits: i32) -> __m512i = _mm512_srl_epi16(a, _mm_cvtsi32_si128(bits));
        add32(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        sub32(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        mul32(a: __m512i, b: __m512i) -> __m512i = _mm512_mullo_epi32(a, b);
        sll32(a: __m512i, bits: i32) -> __m512i = _mm512_sll_epi32(a, _mm_cvtsi32_si128(bits));
        srl32(a: __m512i, bits: i32) -> __m512i = _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits));
        sra32(a: __m512i, bits: i32) -> __m512i = _mm512_sra_epi32(a, _mm_cvtsi32_si128(bits));
        sll64(a: __m512i, bits: i32) -> __m512i = _mm512_sll_epi64(a, _mm_cvtsi32_si128(bits));
        srl64(a: __m512i, bits: i32) -> __m512i = _mm512_srl_epi64(a, _mm_cvtsi32_si128(bits));
        mul_u32(a: __m512i, b: __m512i) -> __m512i = _mm512_mul_epu32(a, b);
        eq32(a: __m512i, b: __m512i) -> __m512i = _mm512_movm_epi32(_mm512_cmpeq_epi32_mask(a, b));
        gt32(a: __m512i, b: __m512i) -> __m512i = _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a, b));
        dot8(a: __m512i, b: __m512i) -> __m512i = _mm512_maddubs_epi16(a, b);
        dot16(sum: __m512i, a: __m512i, b: __m512i) -> __m512i = _mm512_dpwssd_epi32(sum, a, b);
        // Bits of the second where the first has ones, else bits of the third.
        select(mask: __m512i, yes: __m512i, no: __m512i) -> __m512i = _mm512_ternarylogic_epi32::<0xCA>(mask, yes, no);
        bits8(mask: __m512i) -> u64 = _mm512_movepi8_mask(mask);
        to_f32(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        trunc(a: __m512) -> __m512i = _mm512_cvttps_epi32(a);
        nearest(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        add_f32(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub_f32(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul_f32(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div_f32(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        sqrt_f32(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        lt_f32(a: __m512, b: __m512) -> __m512i = _mm512_movm_epi32(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b));
        bits_of(a: __m512) -> __m512i = _mm512_castps_si512(a);
        f32_of(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
        widen_f32(a: __m512) -> [__m512d; 2] = [
            _mm512_cvtps_pd(_mm512_castps512_ps256(a)),
            _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(a)),
        ];
        narrow_f64(a: [__m512d; 2]) -> __m512 =
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm512_cvtpd_ps(a[0])), _mm512_cvtpd_ps(a[1]));
        add_f64(a: __m512d, b: __m512d) -> __m512d = _mm512_add_pd(a, b);
        sub_f64(a: __m512d, b: __m512d) -> __m512d = _mm512_sub_pd(a, b);
        mul_f64(a: __m512d, b: __m512d) -> __m512d = _mm512_mul_pd(a, b);
        table(table: &[u8; 256]) -> [__m512i; 4] = std::array::from_fn(|part| {
            // SAFETY: the part lies inside the table; the instruction asks for no alignment.
            _mm512_loadu_si512(table[64 * part..64 * part + 64].as_ptr().cast())
        });
    }

    #[inline(always)]
    fn load_widened16(self, from: &[u8]) -> __m512i {
        let from = &from[..32];
        // SAFETY: the slice has the 32 bytes; the instruction asks for no alignment.
        unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_narrowed16(self, value: __m512i, to: &mut [u8]) {
        let to = &mut to[..32];
        // SAFETY: the slice has the 32 bytes; the instruction asks for no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtepi16_epi8(value)) }
    }

    #[inline(always)]
    fn turn(self, from: &[u8], at: usize, stride: isize, to: &mut [u8], stride_out: usize) {
        turn(self.avx2(), from, at, stride, to, stride_out);
    }

    #[inline(always)]
    fn split_colours(self, colours: &[u8; 48]) -> [[u8; 16]; 3] {
        split_colours(self.avx2(), colours)
    }

    #[inline(always)]
    fn sum_u8(self, a: __m512i) -> u64 {
        // SAFETY: `self` proves that the processor has the instructions; no memory is touched.
        let lanes: [u64; 8] = unsafe { std::mem::transmute(_mm512_sad_epu8(a, _mm512_setzero_si512())) };
        lanes.iter().sum()
    }

    #[inline(always)]
    fn look_up(self, table: &[__m512i; 4], at: [__m512i; 2]) -> [__m512i; 2] {
        let mut found = at;
        for (found, &at) in found.iter_mut().zip(&at) {
            // SAFETY: `self` proves that the processor has the instructions; no memory is touched.
            *found = unsafe {
                let lower = _mm512_permutex2var_epi8(table[0], at, table[1]);
                let upper = _mm512_permutex2var_epi8(table[2], at, table[3]);
                _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), lower, upper)
            };
        }
        found
    }
}
