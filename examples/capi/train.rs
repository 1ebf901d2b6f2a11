//! Fit a line to noisy points with AdamW, from Rust over the C library. No crate is needed.
//!
//!     pyfastlr build-capi -o lib
//!     rustc -O examples/capi/train.rs -L lib -l fastlr -C link-args=-Wl,-rpath,lib -o train
//!     ./train

use std::ffi::{c_char, c_int, CStr};

/// `fastlr_adamw_config` of fastlr.h: the same fields in the same order.
#[repr(C)]
struct AdamWConfig {
    struct_size: usize,
    convention: i32,
    decay: i32,
    maximize: i32,
    lr: f64,
    lr_scale: f64,
    weight_decay: f64,
    inv_scale: f64,
    clip_factor: f64,
    betas: [f64; 2],
    eps: f64,
}

extern "C" {
    fn fastlr_error_text(error: c_int) -> *const c_char;
    fn fastlr_adamw_config_init(config: *mut AdamWConfig) -> c_int;
    fn fastlr_adamw_step(
        config: *const AdamWConfig,
        t: i64,
        p: *mut f32,
        g: *const f32,
        exp_avg: *mut f32,
        exp_avg_sq: *mut f32,
        begin: usize,
        end: usize,
    ) -> c_int;
}

/// Turn an error of the library into its text.
fn check(code: c_int) -> Result<(), String> {
    if code == 0 {
        return Ok(());
    }
    let text = unsafe { CStr::from_ptr(fastlr_error_text(code)) };
    Err(text.to_string_lossy().into_owned())
}

/// AdamW over flat buffers, which it borrows for each step.
struct AdamW {
    config: AdamWConfig,
    exp_avg: Vec<f32>,
    exp_avg_sq: Vec<f32>,
    t: i64,
}

impl AdamW {
    fn new(size: usize, lr: f64) -> Result<Self, String> {
        let mut config: AdamWConfig = unsafe { std::mem::zeroed() };
        check(unsafe { fastlr_adamw_config_init(&mut config) })?;
        if config.struct_size != std::mem::size_of::<AdamWConfig>() {
            return Err("AdamWConfig is not the fastlr_adamw_config of this library".into());
        }
        config.lr = lr;
        config.weight_decay = 0.0;
        Ok(AdamW { config, exp_avg: vec![0.0; size], exp_avg_sq: vec![0.0; size], t: 0 })
    }

    fn step(&mut self, p: &mut [f32], g: &[f32]) -> Result<(), String> {
        assert!(p.len() == g.len() && p.len() == self.exp_avg.len());
        let (m, v) = (self.exp_avg.as_mut_ptr(), self.exp_avg_sq.as_mut_ptr());
        check(unsafe {
            fastlr_adamw_step(&self.config, self.t + 1, p.as_mut_ptr(), g.as_ptr(), m, v, 0, p.len())
        })?;
        self.t += 1;
        Ok(())
    }
}

fn main() -> Result<(), String> {
    let steps: i64 = std::env::args().nth(1).map_or(2000, |x| x.parse().expect("a number of updates"));
    // y = 2x - 1, and what looks like noise: the fractional part of a multiple of the golden ratio.
    let points: Vec<(f32, f32)> = (0..200)
        .map(|i| {
            let x = i as f32 / 100.0 - 1.0;
            (x, 2.0 * x - 1.0 + 0.1 * ((i as f32 * 0.618_034).fract() - 0.5))
        })
        .collect();

    let mut p = [0.0_f32; 2]; // slope, intercept
    let mut opt = AdamW::new(p.len(), 0.01)?;
    for _ in 0..steps {
        let mut g = [0.0_f32; 2];
        for (x, y) in &points {
            let error = p[0] * x + p[1] - y;
            g[0] += 2.0 * error * x / points.len() as f32;
            g[1] += 2.0 * error / points.len() as f32;
        }
        opt.step(&mut p, &g)?;
    }
    println!("y = {:.3} x + {:.3} (expected: 2 x - 1, to 0.01)", p[0], p[1]);

    opt.config.lr = f64::NAN;
    let refused = opt.step(&mut p, &[0.0; 2]).expect_err("a rate that is no number");
    println!("lr = NaN is refused: {refused}");
    if (p[0] - 2.0).abs() > 0.01 || (p[1] + 1.0).abs() > 0.01 {
        return Err("the line is too far away".into());
    }
    Ok(())
}
