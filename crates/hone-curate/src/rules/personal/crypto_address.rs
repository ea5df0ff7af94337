//! Addresses of crypto-currencies.

use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};

use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "crypto-address",
    family: Family::PersonalData,
    summary: "an address of a crypto-currency",
    why: "Everything a wallet ever paid or received is public; its address beside a name opens the whole account book.",
    what: "Base58Check with the version bytes of Bitcoin, Litecoin, Dogecoin and Dash; Bech32 and Bech32m (BIP 173, BIP 350) with `bc`, `tb` or `ltc`; `0x` and 40 hexadecimal digits, whose checksum is optional, beside a word such as *ethereum* or *wallet*. Label `CRYPTO_ADDRESS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "eth", "ether", "ethereum", "wallet", "usdt", "usdc", "erc20", "donate", "donation", "crypto*",
    "bsc", "polygon",
];

static WRITTEN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:[13LMDX][1-9A-HJ-NP-Za-km-z]{25,34}|(?:bc|tb|ltc|BC|TB|LTC)1[0-9A-Za-z]{11,71}|0x[0-9A-Fa-f]{40})(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    for found in WRITTEN.find_iter(text) {
        let sighting = Sighting::new(
            found.range(),
            "CRYPTO_ADDRESS",
            "an address of a crypto-currency",
        );
        let address = found.as_str();
        if address.starts_with("0x") {
            let varied = address.bytes().skip(3).any(|c| c != address.as_bytes()[2]);
            seen.extend(varied.then(|| sighting.scored(0.2).beside(CONTEXT)));
        } else if is_base58_check(address) || is_bech32(address) {
            seen.push(sighting);
        }
    }
}

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Version, twenty bytes of hash and the first four of their double SHA-256.
fn is_base58_check(address: &str) -> bool {
    let Some(bytes) = base58(address) else {
        return false;
    };
    let (payload, check) = bytes.split_at(21);
    let version = matches!(
        payload[0],
        0x00 | 0x05 | 0x30 | 0x32 | 0x1e | 0x16 | 0x4c | 0x10
    );
    version && Sha256::digest(Sha256::digest(payload))[..4] == *check
}

/// Twenty-five bytes, most significant first.
fn base58(address: &str) -> Option<[u8; 25]> {
    let mut bytes = [0; 25];
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
