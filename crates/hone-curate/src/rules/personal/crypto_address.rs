//! Addresses of crypto-currencies.

use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};

use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "crypto-address",
    family: Family::PersonalData,
    summary: "an address of a crypto-currency",
    why: "Everything a wallet ever paid or received is public; its address beside a name opens the whole account book.",
    what: "Base58Check with the version bytes of Bitcoin, Litecoin, Dogecoin, Dash and Tron, and of private keys in Wallet Import Format; Monero's base 58 with its Keccak checksum; Bech32 and Bech32m (BIP 173, BIP 350) with `bc`, `tb` or `ltc`; `0x` and 40 hexadecimal digits, which are sure if their case is the checksum of EIP-55 and else take a word such as *ethereum* or *wallet* beside them. Label `CRYPTO_ADDRESS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "eth",
    "ether",
    "ethereum",
    "wallet",
    "usdt",
    "usdc",
    "erc20",
    "donate",
    "donation",
    "crypto*",
    "bsc",
    "polygon",
    "bitcoin*",
    "coin*",
    "address",
    "blockchain",
    "metamask",
    "portefeuille*",
    "monedero*",
    "portafoglio*",
    "carteira*",
    "portfel*",
    "plånbok*",
    "lompakko*",
    "portofel*",
    "кошел*",
    "биткоин*",
    "cüzdan*",
    "bitcoinplånbok*",
    "钱包",
    "錢包",
    "比特币",
    "以太",
    "ウォレット",
    "ビットコイン",
    "지갑",
    "비트코인",
    "محفظة",
    "بيتكوين",
    "वॉलेट",
    "बिटकॉइन",
    "kryptow*",
    "адрес*",
];

static WRITTEN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:[13LMDXT5K48][1-9A-HJ-NP-Za-km-z]{25,105}|(?:bc|tb|ltc|BC|TB|LTC)1[0-9A-Za-z]{11,71}|0x[0-9A-Fa-f]{40})(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    if view.longest_word() < 14 {
        return;
    }
    for found in WRITTEN.find_iter(text) {
        let sighting = Sighting::new(
            found.range(),
            "CRYPTO_ADDRESS",
            "an address of a crypto-currency",
        );
        let address = found.as_str();
        if let Some(digits) = address.strip_prefix("0x") {
            let varied = digits.bytes().any(|c| c != digits.as_bytes()[0]);
            let lower = digits.to_ascii_lowercase();
            let one_case = digits == lower || digits == digits.to_ascii_uppercase();
            if varied && (one_case || is_eip_55(digits, &lower)) {
                let alone = if one_case { 0.2 } else { 0.9 };
                seen.push(sighting.scored(alone).beside(CONTEXT));
            }
        } else if is_base58_check(address) || is_bech32(address) || is_monero(address) {
            seen.push(sighting);
        }
    }
}

/// Letters are upper case where the digit of the hash of the lower ones is 8 or more.
fn is_eip_55(digits: &str, lower: &str) -> bool {
    let hash = keccak_256(lower.as_bytes());
    digits.bytes().enumerate().all(|(at, c)| {
        let digit = hash[at / 2] >> (4 * (1 - at % 2)) & 15;
        !c.is_ascii_alphabetic() || c.is_ascii_uppercase() == (digit >= 8)
    })
}

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Version, what it is the version of, and the first four bytes of their double SHA-256.
fn is_base58_check(address: &str) -> bool {
    // An address has twenty bytes, a private key thirty-two, and one more where its public key is compressed.
    let (size, versions): (usize, &[u8]) = match address.len() {
        26..=35 => (25, &[0x00, 0x05, 0x30, 0x32, 0x1e, 0x16, 0x4c, 0x10, 0x41]),
        51 => (37, &[0x80]),
        52 => (38, &[0x80]),
        _ => return false,
    };
    let Some(bytes) = base58(address, size) else {
        return false;
    };
    let (payload, check) = bytes.split_at(size - 4);
    versions.contains(&payload[0]) && Sha256::digest(Sha256::digest(payload))[..4] == *check
}

/// So many bytes, most significant first.
fn base58(address: &str, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    for c in address.bytes() {
        let mut carry = BASE58.iter().position(|&known| known == c)? as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(bytes)
}

/// Network, two keys and the first four bytes of their Keccak-256, in blocks of eight bytes that are eleven characters each.
fn is_monero(address: &str) -> bool {
    if address.len() != 95 {
        return false;
    }
    let blocks = (0..8).map(|block| base58(&address[11 * block..11 * block + 11], 8));
    let last = base58(&address[88..], 5);
    let bytes: Option<Vec<Vec<u8>>> = blocks.chain([last]).collect();
    bytes.map(|bytes| bytes.concat()).is_some_and(|bytes| {
        let (payload, check) = bytes.split_at(65);
        matches!(payload[0], 18 | 42) && keccak_256(payload)[..4] == *check
    })
}

/// Keccak-256 with the padding that it had before it became SHA-3, as Ethereum and Monero use it.
fn keccak_256(message: &[u8]) -> [u8; 32] {
    const RATE: usize = 136;
    let mut padded = message.to_vec();
    padded.push(1);
    padded.resize(padded.len().next_multiple_of(RATE), 0);
    *padded.last_mut().expect("it has a byte") |= 0x80;
    let mut state = [0u64; 25];
    for block in padded.chunks_exact(RATE) {
        for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
            *lane ^= u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        keccak_f(&mut state);
    }
    let mut hash = [0; 32];
    for (bytes, lane) in hash.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    hash
}

/// The permutation of FIPS 202, lane `x + 5 y`.
fn keccak_f(state: &mut [u64; 25]) {
    let mut register = 1u8;
    for _ in 0..24 {
        let column = |x: usize| (0..5).fold(0, |sum, y| sum ^ state[x + 5 * y]);
        let columns: [u64; 5] = std::array::from_fn(column);
        for x in 0..5 {
            let mixed = columns[(x + 4) % 5] ^ columns[(x + 1) % 5].rotate_left(1);
            (0..5).for_each(|y| state[x + 5 * y] ^= mixed);
        }
        let (mut x, mut y, mut moved) = (1, 0, state[1]);
        for step in 0..24u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let turned = moved.rotate_left((step + 1) * (step + 2) / 2 % 64);
            moved = std::mem::replace(&mut state[x + 5 * y], turned);
        }
        for y in 0..5 {
            let row: [u64; 5] = std::array::from_fn(|x| state[x + 5 * y]);
            (0..5).for_each(|x| state[x + 5 * y] = row[x] ^ (!row[(x + 1) % 5] & row[(x + 2) % 5]));
        }
        // The round's constant comes from a shift register.
        for bit in 0..7 {
            if register & 1 == 1 {
                state[0] ^= 1 << ((1u32 << bit) - 1);
            }
            register = register << 1 ^ if register & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}

const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The generator of the checksum's code (BIP 173).
const GENERATOR: [u32; 5] = [
    0x3b6a_57b2,
    0x2650_8e6d,
    0x1ea1_19fa,
    0x3d42_33dd,
    0x2a14_62b3,
];

fn is_bech32(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    let one_case = address == lower || address == address.to_ascii_uppercase();
    let Some((prefix, data)) = lower.split_once('1').filter(|_| one_case) else {
        return false;
    };
    let values: Option<Vec<u32>> = data
        .bytes()
        .map(|c| {
            BECH32
                .iter()
                .position(|&known| known == c)
                .map(|at| at as u32)
        })
        .collect();
    let Some(values) = values else { return false };
    let high = prefix.bytes().map(|c| u32::from(c >> 5));
    let low = prefix.bytes().map(|c| u32::from(c & 31));
    let rest = high
        .chain([0])
        .chain(low)
        .chain(values)
        .fold(1, |rest: u32, value| {
            let top = rest >> 25;
            let next = (rest & 0x01ff_ffff) << 5 ^ value;
            (0..5)
                .filter(|bit| top >> bit & 1 == 1)
                .fold(next, |next, bit| next ^ GENERATOR[bit])
        });
    matches!(rest, 1 | 0x2bc8_30a3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keccak_is_the_one_that_was_there_before_sha_3() {
        let hex = |bytes: [u8; 32]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            hex(keccak_256(b"")),
            "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        );
        assert_eq!(
            hex(keccak_256(b"abc")),
            "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
        );
    }

    #[test]
    fn addresses_pass_and_their_neighbours_do_not() {
        // EIP-55's own examples; Wikipedia's private key; Monero's donation address.
        assert!(is_eip_55(
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
        ));
        assert!(!is_eip_55(
            "5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
        ));
        assert!(is_base58_check(
            "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"
        ));
        assert!(!is_base58_check(
            "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTK"
        ));
        let monero = "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H";
        assert!(is_monero(monero) && !is_monero(&monero.replace("888t", "887t")));
    }
}
