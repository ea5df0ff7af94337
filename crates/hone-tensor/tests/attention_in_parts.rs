//! Tokens of a sequence that are read in parts give the bits that they give when they are read at once.

use hone_conformance::noise;
use hone_tensor::{Device, Heads, Span, Spans};

#[test]
fn tokens_read_in_parts_give_the_bits_they_give_at_once() {
    const LEN: usize = 700;
    for (head_dim, window, cap) in [
        (64, None, None),
        (24, Some(100), None),
        (16, None, Some(2.0)),
    ] {
        let heads = Heads {
            num_heads: 3,
            num_kv_heads: 1,
            head_dim,
            scale: 0.2,
            window,
            cap,
        };
        for threads in [1, 2] {
            let device = Device::cpu(threads).unwrap();
            let values = |count, salt| noise(count * head_dim, salt);
            let q = device.tensor(LEN, 3 * head_dim, &values(3 * LEN, 1));
            let k = device.tensor(LEN, head_dim, &values(LEN, 2));
            let v = device.tensor(LEN, head_dim, &values(LEN, 3));
            let attended = |ends: &[usize]| {
                let starts = [0].iter().chain(ends);
                let span = |(start, end): (&usize, &usize)| Span {
                    query_start: *start,
                    query_len: end - start,
                    key_start: 0,
                    key_len: *end,
                };
                let spans: Spans = starts.zip(ends).map(span).collect();
                let mut out = device.empty(LEN, 3 * head_dim);
                device.attention(&q, &k, &v, &spans, heads, &mut out, None);
                let out = out.to_vec().unwrap();
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let whole = attended(&[LEN]);
            for ends in [
                vec![16, LEN],
                vec![5, 37, 300, 311, LEN],
                (1..70).map(|part| part * 10).chain([LEN]).collect(),
            ] {
                assert!(attended(&ends) == whole, "{heads:?}, in parts {ends:?}");
            }
        }
    }
}
