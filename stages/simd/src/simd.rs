//! What a kernel can do with vectors.

/// Work over vectors of any width.
pub trait Kernel {
    /// What it gives back.
    type Out;

    /// Does the work. Mark it, and every generic function that it calls, `#[inline(always)]`: only what is inlined into
    /// the path's entry is compiled for the path's instructions. A closure cannot be marked, and `array::map` and the
    /// like take one: inside of them each instruction may become a call. Write loops.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// A kind of vectors. Names end in the bits of a lane; `lo`, `hi` and `pack` work inside blocks of 128 bits and undo
/// each other: what is unpacked and packed again is in its old order.
#[expect(missing_docs, reason = "most names say all; the others are described")]
pub trait Simd: Copy {
    /// Bytes of a vector.
    const BYTES: usize;

    /// Integers of any width.
    type I: Copy;
    /// f32 lanes, as many as 32-bit integers.
    type F: Copy;
    /// f64 lanes, half as many as f32 lanes.
    type D: Copy;

    /// The first [`BYTES`](Self::BYTES) of a slice.
    ///
    /// # Panics
    /// It has fewer.
    fn load(self, from: &[u8]) -> Self::I;
    /// Overwrites the first [`BYTES`](Self::BYTES) of a slice.
    ///
    /// # Panics
    /// It has fewer.
    fn store(self, value: Self::I, to: &mut [u8]);
    /// As many u16 as fill a vector.
    ///
    /// # Panics
    /// There are fewer.
    fn load16(self, from: &[u16]) -> Self::I;
    /// Overwrites as many u16 as fill a vector.
    ///
    /// # Panics
    /// There are fewer.
    fn store16(self, value: Self::I, to: &mut [u16]);
    /// Overwrites as many f32 as fill a vector.
    ///
    /// # Panics
    /// There are fewer.
    fn store_f32(self, value: Self::F, to: &mut [f32]);
    /// The first lanes of a slice of bytes (a quarter of a vector's bytes), each widened to a 32-bit lane, in order.
    ///
    /// # Panics
    /// There are fewer bytes.
    fn load_widened(self, from: &[u8]) -> Self::I;

    /// The first bytes of a slice (half a vector's bytes), each widened to a 16-bit lane, in order.
    ///
    /// # Panics
    /// There are fewer bytes.
    fn load_widened16(self, from: &[u8]) -> Self::I;
    /// Overwrites half a vector's bytes with 16-bit lanes of at most 255, in order.
    ///
    /// # Panics
    /// There are fewer bytes.
    fn store_narrowed16(self, value: Self::I, to: &mut [u8]);

    fn splat8(self, value: u8) -> Self::I;
    fn splat16(self, value: i16) -> Self::I;
    fn splat32(self, value: i32) -> Self::I;
    fn splat_f32(self, value: f32) -> Self::F;
    fn splat_f64(self, value: f64) -> Self::D;

    /// Bytes of the lower halves of each 128 bits: a0 b0 a1 b1 …
    fn lo8(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bytes of the upper halves.
    fn hi8(self, a: Self::I, b: Self::I) -> Self::I;
    fn lo16(self, a: Self::I, b: Self::I) -> Self::I;
    fn hi16(self, a: Self::I, b: Self::I) -> Self::I;
    fn lo32(self, a: Self::I, b: Self::I) -> Self::I;
    fn hi32(self, a: Self::I, b: Self::I) -> Self::I;
    /// i16 to u8, saturating.
    fn pack16_u8(self, a: Self::I, b: Self::I) -> Self::I;
    /// i32 to i16, saturating.
    fn pack32_i16(self, a: Self::I, b: Self::I) -> Self::I;
    /// i16 to i8, saturating.
    fn pack16_i8(self, a: Self::I, b: Self::I) -> Self::I;

    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bits of `b` that are not in `a`.
    fn and_not(self, a: Self::I, b: Self::I) -> Self::I;

    fn add8(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub8(self, a: Self::I, b: Self::I) -> Self::I;
    fn add_sat_u8(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_sat_u8(self, a: Self::I, b: Self::I) -> Self::I;
    fn min_u8(self, a: Self::I, b: Self::I) -> Self::I;
    fn max_u8(self, a: Self::I, b: Self::I) -> Self::I;
    /// All ones where equal.
    fn eq8(self, a: Self::I, b: Self::I) -> Self::I;
    /// Sums of absolute differences to zero: the sum of every 8 bytes, in 64-bit lanes; here added up over all lanes.
    fn sum_u8(self, a: Self::I) -> u64;

    fn add16(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub16(self, a: Self::I, b: Self::I) -> Self::I;
    fn mul16(self, a: Self::I, b: Self::I) -> Self::I;
    /// Upper halves of the products of u16.
    fn mulhi_u16(self, a: Self::I, b: Self::I) -> Self::I;
    fn srl16(self, a: Self::I, bits: i32) -> Self::I;

    fn add32(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub32(self, a: Self::I, b: Self::I) -> Self::I;
    fn mul32(self, a: Self::I, b: Self::I) -> Self::I;
    fn sll32(self, a: Self::I, bits: i32) -> Self::I;
    fn srl32(self, a: Self::I, bits: i32) -> Self::I;
    fn sra32(self, a: Self::I, bits: i32) -> Self::I;
    fn sll64(self, a: Self::I, bits: i32) -> Self::I;
    fn srl64(self, a: Self::I, bits: i32) -> Self::I;
    /// The products of the lower halves of 64-bit lanes, as u32: whole, in those lanes.
    fn mul_u32(self, a: Self::I, b: Self::I) -> Self::I;
    /// All ones where equal.
    fn eq32(self, a: Self::I, b: Self::I) -> Self::I;
    /// All ones where a > b, signed.
    fn gt32(self, a: Self::I, b: Self::I) -> Self::I;
    /// Sums of two products of a u8 of `a` with an i8 of `b`: an i16 lane each, saturating.
    fn dot8(self, a: Self::I, b: Self::I) -> Self::I;
    /// `sum` plus the products of pairs of i16: two products a lane of 32 bits.
    fn dot16(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// `yes` where the mask has ones, else `no`; lanes of a mask are all ones or all zeros.
    fn select(self, mask: Self::I, yes: Self::I, no: Self::I) -> Self::I;
    /// One bit a byte: its highest.
    fn bits8(self, mask: Self::I) -> u64;

    /// i32 to f32, to nearest.
    fn to_f32(self, a: Self::I) -> Self::F;
    /// f32 to i32, toward zero.
    fn trunc(self, a: Self::F) -> Self::I;
    /// f32 to i32, to nearest, ties to even.
    fn nearest(self, a: Self::F) -> Self::I;
    fn add_f32(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub_f32(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul_f32(self, a: Self::F, b: Self::F) -> Self::F;
    fn div_f32(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt_f32(self, a: Self::F) -> Self::F;
    /// a * b + c, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// All ones where a < b.
    fn lt_f32(self, a: Self::F, b: Self::F) -> Self::I;
    /// The bits of f32 lanes.
    fn bits_of(self, a: Self::F) -> Self::I;
    /// f32 lanes of bits.
    fn f32_of(self, a: Self::I) -> Self::F;

    /// Every f32 as f64, in order.
    fn widen_f32(self, a: Self::F) -> [Self::D; 2];
    /// Every f64 as f32, to nearest, in order; undoes [`widen_f32`](Self::widen_f32).
    fn narrow_f64(self, a: [Self::D; 2]) -> Self::F;
    fn add_f64(self, a: Self::D, b: Self::D) -> Self::D;
    fn sub_f64(self, a: Self::D, b: Self::D) -> Self::D;
    fn mul_f64(self, a: Self::D, b: Self::D) -> Self::D;

    /// A table ready for [`look_up`](Self::look_up).
    type Table: Copy;
    fn table(self, table: &[u8; 256]) -> Self::Table;
    /// The table's entry for every byte of two vectors.
    fn look_up(self, table: &Self::Table, at: [Self::I; 2]) -> [Self::I; 2];

    /// Four f64 lanes, whatever the width: the channels of one pixel.
    type Q: Copy;
    /// Four bytes as four f64.
    fn quad(self, bytes: u32) -> Self::Q;
    fn splat_quad(self, value: f64) -> Self::Q;
    fn add_quad(self, a: Self::Q, b: Self::Q) -> Self::Q;
    fn sub_quad(self, a: Self::Q, b: Self::Q) -> Self::Q;
    fn mul_quad(self, a: Self::Q, b: Self::Q) -> Self::Q;
    /// f64 as bytes, truncated and saturated.
    fn quad_bytes(self, a: Self::Q) -> [u8; 4];

    /// Turns 32 rows of 16 bytes, the first at `at` of a slice and each `stride` behind (or before) the one before, into
    /// 16 rows of 32 bytes, `stride_out` apart.
    ///
    /// # Panics
    /// A row leaves its slice.
    fn turn(self, from: &[u8], at: usize, stride: isize, to: &mut [u8], stride_out: usize);

    /// 16 colours of three bytes, as 16 bytes of each channel.
    fn split_colours(self, colours: &[u8; 48]) -> [[u8; 16]; 3];

    /// Vectors of zeros.
    #[inline(always)]
    fn zero(self) -> Self::I {
        self.splat32(0)
    }

    /// Bytes as four vectors of 32-bit lanes, for [`narrow`](Self::narrow).
    #[inline(always)]
    fn widen(self, bytes: Self::I) -> [Self::I; 4] {
        let zero = self.zero();
        let (low, high) = (self.lo8(bytes, zero), self.hi8(bytes, zero));
        [self.lo16(low, zero), self.hi16(low, zero), self.lo16(high, zero), self.hi16(high, zero)]
    }

    /// Bytes of two vectors side by side as pairs of 16-bit lanes, for [`dot16`](Self::dot16); the sums are in the order
    /// of [`widen`](Self::widen).
    #[inline(always)]
    fn pairs(self, one: Self::I, two: Self::I) -> [Self::I; 4] {
        let zero = self.zero();
        let (low, high) = (self.lo8(one, two), self.hi8(one, two));
        [self.lo8(low, zero), self.hi8(low, zero), self.lo8(high, zero), self.hi8(high, zero)]
    }

    /// Four vectors of i32 as bytes, saturating; undoes [`widen`](Self::widen).
    #[inline(always)]
    fn narrow(self, [a, b, c, d]: [Self::I; 4]) -> Self::I {
        self.pack16_u8(self.pack32_i16(a, b), self.pack32_i16(c, d))
    }

    /// Four masks of 32-bit lanes as one of bytes, in the order of [`widen`](Self::widen).
    #[inline(always)]
    fn narrow_masks(self, [a, b, c, d]: [Self::I; 4]) -> Self::I {
        self.pack16_i8(self.pack32_i16(a, b), self.pack32_i16(c, d))
    }
}
