//! The quantile function of the normal distribution, with the same bits on every host.
#![expect(clippy::excessive_precision, reason = "the coefficients stand as they were published")]

/// The quantile function of the standard normal distribution for `p` in [0, 1], to 16 digits.
///
/// M. J. Wichura: "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37 (1988),
/// routine PPND16.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE, 0.180625 - q * q);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail <= 0.0 {
        return f64::INFINITY.copysign(q);
    }
    // The crate's logarithm, not the host's: the bits must not depend on the host.
    let r = (-libm::log(tail)).sqrt();
    let magnitude = if r <= 5.0 { ratio(&NEAR_TAIL, r - 1.6) } else { ratio(&FAR_TAIL, r - 5.0) };
    magnitude.copysign(q)
}

/// A ratio of two polynomials in `x`, coefficients from the highest power down.
fn ratio([numerator, denominator]: &[[f64; 8]; 2], x: f64) -> f64 {
    let horner = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient);
    horner(numerator) / horner(denominator)
}

const CENTRE: [[f64; 8]; 2] = [
    [
        2.509_080_928_730_122_672_7e3,
        3.343_057_558_358_812_810_5e4,
        6.726_577_092_700_870_085_3e4,
        4.592_195_393_154_987_145_7e4,
        1.373_169_376_550_946_112_5e4,
        1.971_590_950_306_551_442_7e3,
        1.331_416_678_917_843_774_5e2,
        3.387_132_872_796_366_608_0,
    ],
    [
        5.226_495_278_852_854_561e3,
        2.872_908_573_572_194_267_4e4,
        3.930_789_580_009_271_061e4,
        2.121_379_430_158_659_586_7e4,
        5.394_196_021_424_751_107_7e3,
        6.871_870_074_920_579_083e2,
        4.231_333_070_160_091_125_2e1,
        1.0,
    ],
];

const NEAR_TAIL: [[f64; 8]; 2] = [
    [
        7.745_450_142_783_414_076_4e-4,
        2.272_384_498_926_918_458_7e-2,
        2.417_807_251_774_506_117_6e-1,
        1.270_458_252_452_368_382_6,
        3.647_848_324_763_204_605_4,
        5.769_497_221_460_691_405_5,
        4.630_337_846_156_545_295_9,
        1.423_437_110_749_683_577_3,
    ],
    [
        1.050_750_071_644_416_843_2e-9,
        5.475_938_084_995_344_946e-4,
        1.519_866_656_361_645_719_6e-2,
        1.481_039_764_274_800_745_9e-1,
        6.897_673_349_851_000_455e-1,
        1.676_384_830_183_803_849_4,
        2.053_191_626_637_758_821_8,
        1.0,
    ],
];

const FAR_TAIL: [[f64; 8]; 2] = [
    [
        2.010_334_399_292_288_132_6e-7,
        2.711_555_568_743_487_578_1e-5,
        1.242_660_947_388_078_438_6e-3,
        2.653_218_952_657_612_309_3e-2,
        2.965_605_718_285_048_912_3e-1,
        1.784_826_539_917_291_335_8,
        5.463_784_911_164_114_369_9,
        6.657_904_643_501_103_777_2,
    ],
    [
        2.044_263_103_389_939_785_6e-15,
        1.421_511_758_316_445_888_7e-7,
        1.846_318_317_510_054_681_8e-5,
        7.868_691_311_456_132_591e-4,
        1.487_536_129_085_061_485_3e-2,
        1.369_298_809_227_358_053_1e-1,
        5.998_322_065_558_879_376_9e-1,
        1.0,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: `statistics.NormalDist().inv_cdf` of Python.
    #[test]
    fn agrees_with_an_independent_implementation() {
        let cases = [
            (1.0, -5.294704084854597),
            (2.0, -5.1665781197287535),
            (100.0, -4.379028963276181),
            (5000.0, -3.4334070879446648),
            (1_048_576.0, -1.5341205443525459),
            (4_194_304.0, -0.6744897501960817),
            (8_388_609.0, 1.4940668789333167e-07),
            (12_582_912.0, 0.6744897501960817),
            (16_777_215.0, 5.294704084854597),
        ];
        for (steps, expected) in cases {
            let found = normal_quantile(steps / f64::from(1 << 24));
            assert!((found / expected - 1.0_f64).abs() < 1e-14, "{steps}: {found}, not {expected}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
    }
}
