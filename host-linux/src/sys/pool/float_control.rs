//! The floating-point control word, on which every bit rests.

/// Whether floats round to nearest and subnormals are kept.
pub fn float_control_is_default() -> bool {
    let tiny = std::hint::black_box(f32::MIN_POSITIVE);
    let half = std::hint::black_box(0.5_f32);
    let keeps_subnormals = tiny * half != 0.0;
    let one = std::hint::black_box(1.0_f32);
    let up = std::hint::black_box(f32::EPSILON * 0.5) + one == 1.0;
    let down = one - std::hint::black_box(f32::EPSILON * 0.125) == 1.0;
    keeps_subnormals && up && down
}
