//! Python's `random.Random(seed).sample`: which rows lm-evaluation-harness shows as examples follows from it.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998), seeded by `init_by_array` as CPython seeds it with a whole
//! number.

const N: usize = 624;
const M: usize = 397;

/// A generator in the state that a seed gives it.
pub(super) struct PythonRandom {
    state: [u32; N],
    at: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = match words[1] {
            0 => &words[..1],
            _ => &words[..],
        };
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ last >> 30)
                .wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N {
            let last = state[i - 1];
            state[i] = (state[i] ^ (last ^ last >> 30).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == N {
                (state[0], i) = (state[N - 1], 1);
            }
        }
        for _ in 0..N - 1 {
            let last = state[i - 1];
            state[i] =
                (state[i] ^ (last ^ last >> 30).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                (state[0], i) = (state[N - 1], 1);
            }
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % N] & 0x7fff_ffff;
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ y >> 1 ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// A number below `n`, of at most 32 bits.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.next_u32() >> (32 - bits.clamp(1, 32))) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// The places of `k` of `n` things, `random.sample(range(n), k)`; all of them where there are not so many.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let k = k.min(n);
        let mut set_size = 21;
        if k > 5 {
            let three_k = (k * 3) as f64;
            set_size += 4_usize.pow((three_k.ln() / 4_f64.ln()).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            let draw = |i: usize| {
                let at = self.below(n - i);
                let drawn = pool[at];
                pool[at] = pool[n - i - 1];
                drawn
            };
            return (0..k).map(draw).collect();
        }
        let mut drawn = Vec::with_capacity(k);
        while drawn.len() < k {
            let at = self.below(n);
            if !drawn.contains(&at) {
                drawn.push(at);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From CPython 3.12.
    #[test]
    fn the_draws_are_pythons() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(SMALL.0[..], random.sample(10, 3));
        assert_eq!(SMALL.1[..], random.sample(1000, 7));
        assert_eq!(SMALL.2[..], random.sample(40, 6));
        assert_eq!(LARGE, PythonRandom::new(1 << 40).sample(10, 3)[..]);
    }

    const SMALL: ([usize; 3], [usize; 7], [usize; 6]) = (
        [7, 1, 0],
        [92, 932, 965, 961, 826, 596, 35],
        [5, 6, 22, 15, 1, 35],
    );
    const LARGE: [usize; 3] = [1, 5, 9];
}
